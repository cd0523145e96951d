//go:build !linux

package web

func (c *conn) untilReset() {}
