//go:build !linux

package web

func (c *conn) untilReset() {}

const seesAcks = false

func (c *conn) acks() (uint64, bool) { return 0, false }
