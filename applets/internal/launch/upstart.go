package launch

import (
	"net"
	"os"
	"strconv"
	"strings"

	"sockbox/applets/internal/sock"
)

// theirs are variables that tell a program about its socket, or us about ours. What we have inherited
// of them means nothing to the program.
func theirs(name string, mode Mode) bool {
	switch name {
	case "PORT", "ADDR", "SOCKET_PATH":
		return mode == Listen || mode == Upstart
	case "PROTO":
		return mode != Worker
	case "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC",
		"REMOTE_ADDR", "REMOTE_PORT", "REMOTE_HOST", "SERVER_ADDR", "SERVER_PORT",
		"SOCKBOX_PEER", "SOCKBOX_LOCAL":
		return true
	}
	for _, prefix := range []string{"UPSTART_", "TCPLOCAL", "TCPREMOTE", "UNIXLOCAL", "UNIXREMOTE"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// environment is what every start of the job has. No variable occurs twice.
func environment(j *Job) []string {
	env := os.Environ()
	if j.User != nil {
		env = j.User.Environment(env)
	}
	env = append(env, j.Env...)
	at := map[string]int{}
	var out []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			out[i] = v
		} else if !theirs(name, j.Mode) {
			at[name] = len(out)
			out = append(out, v)
		}
	}
	return out
}

// upstartEnv is what Upstart told a job that its socket event had started: n descriptors from 3 on, and
// the event's own variables, which say where somebody knocked.
func upstartEnv(job string, s *sock.Bound, n int) []string {
	fds := make([]string, n)
	for i := range fds {
		fds[i] = strconv.Itoa(3 + i)
	}
	env := []string{"UPSTART_JOB=" + job, "UPSTART_INSTANCE=", "UPSTART_EVENTS=socket", "UPSTART_FDS=" + strings.Join(fds, " ")}
	proto, ip, port := "inet", "", 0
	switch a := s.Local().(type) {
	case *net.UnixAddr:
		return append(env, "PROTO=unix", "SOCKET_PATH="+a.Name)
	case *net.TCPAddr:
		ip, port = a.IP.String(), a.Port
		if a.IP.To4() == nil {
			proto = "inet6"
		}
	case *net.UDPAddr:
		ip, port = a.IP.String(), a.Port
		if a.IP.To4() == nil {
			proto = "inet6"
		}
	}
	return append(env, "PROTO="+proto, "PORT="+strconv.Itoa(port), "ADDR="+ip)
}

// fdNames gives each of n descriptors a name, as LISTEN_FDNAMES has them.
func fdNames(names []string, n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = "unknown"
		if i < len(names) {
			all[i] = names[i]
		}
	}
	return strings.Join(all, ":")
}
