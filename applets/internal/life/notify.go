package life

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// Notify tells a service manager how the service is, as sd_notify(3) says: "READY=1",
// "STOPPING=1", "STATUS=…". Without $NOTIFY_SOCKET it does nothing. The inner process of two (Guard)
// tells it through the outer one, which the manager knows.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if link := guardLink.Load(); link != nil {
		return notifyThrough(link, state)
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		defer c.Close()
		_, err = c.Write([]byte(state))
	}
	var call *os.SyscallError // what package net wraps around it is in the variable's name
	if errors.As(err, &call) {
		err = call.Err
	}
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %s: %w", path, err)
	}
	return nil
}
