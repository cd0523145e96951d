package web

import (
	"io"
	"net"
)

// copyFile sends out and then part of v's file, through memory.
func (c *conn) copyFile(out []byte, v *variant, part span) (int64, error) {
	if _, err := c.Write(out); err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{io.NewSectionReader(v.file, part.from, part.size)}, make([]byte, 64<<10))
	if err == nil && n < part.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// sendBytes sends both with one call.
func (c *conn) sendBytes(out, body []byte) (int64, error) {
	c.extend()
	both := net.Buffers{out, body}
	n, err := both.WriteTo(c.Conn)
	for c.goesOn(err) {
		var more int64
		more, err = both.WriteTo(c.Conn)
		n += more
	}
	return max(n-int64(len(out)), 0), err
}
