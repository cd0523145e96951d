package web

// Users are those who may come in.
type Users struct{}
