//go:build !linux

package sock

import "syscall"

const canSplice = false

func (l *lane) splice() (int, error) { return 0, syscall.ENOSYS }

func unread(syscall.RawConn) (int, bool) { return 0, false }
