package buffer

import "golang.org/x/sys/unix"

func peerCred(fd int) (int, error) {
	c, err := unix.GetsockoptXucred(fd, 0, unix.LOCAL_PEERCRED) // unix(4): level 0
	if err != nil {
		return -1, err
	}
	return int(c.Uid), nil
}
