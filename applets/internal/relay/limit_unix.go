//go:build unix

package relay

import "syscall"

// room returns how many clients there may be at most, of want: each takes two descriptors, and some are
// kept for all else.
func room(want int) int {
	const kept = 24
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return want
	}
	limit := int(min(uint64(l.Cur), 1<<30))
	return max(1, min(want, (limit-kept)/2))
}
