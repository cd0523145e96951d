//go:build !linux

package sock

import "net"

// OOBSpace is room enough for the ancillary data of a datagram.
const OOBSpace = 64

// Acked cannot tell on this system.
func Acked(net.Conn) (n uint64, ok bool) { return 0, false }

// Unsent cannot tell on this system.
func Unsent(net.Conn) (n int, ok bool) { return 0, false }

// Drops cannot tell on this system.
func Drops([]byte) (n uint32, ok bool) { return 0, false }
