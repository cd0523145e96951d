package web

// A Log is where requests are written down.
type Log struct{}
