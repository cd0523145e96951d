//go:build unix

package life

import "golang.org/x/sys/unix"

// resources are the limits by the names that limits.conf(5) has for them.
var resources = [...]struct {
	name   string
	number int
}{
	{"as", unix.RLIMIT_AS}, {"core", unix.RLIMIT_CORE}, {"cpu", unix.RLIMIT_CPU}, {"data", unix.RLIMIT_DATA}, {"fsize", unix.RLIMIT_FSIZE},
	{"memlock", unix.RLIMIT_MEMLOCK}, {"nofile", unix.RLIMIT_NOFILE}, {"nproc", unix.RLIMIT_NPROC}, {"stack", unix.RLIMIT_STACK},
}

// LimitNames are the limits that there are.
func LimitNames() (names []string) {
	for _, r := range resources {
		names = append(names, r.name)
	}
	return names
}

// resource is l as setrlimit(2) takes it.
func (l Limit) resource() (number int, r unix.Rlimit) {
	set(&r.Cur, l.Value)
	set(&r.Max, l.Value)
	for _, res := range resources {
		if res.name == l.Name {
			return res.number, r
		}
	}
	return -1, r // EINVAL
}

func set[T int64 | uint64](p *T, v uint64) { *p = T(v) } // FreeBSD has signed ones
