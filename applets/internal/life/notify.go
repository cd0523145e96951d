package life

import (
	"net"
	"os"
)

// Notify tells a service manager how the service is, as sd_notify(3) says: "READY=1",
// "STOPPING=1", "STATUS=…". Without $NOTIFY_SOCKET it does nothing.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
