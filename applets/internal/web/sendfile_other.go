//go:build !linux

package web

func (c *conn) sendFile(out []byte, v *variant, part span) (int64, error) {
	return c.copyFile(out, v, part)
}
