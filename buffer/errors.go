package buffer

import "errors"

// What a buffer can answer instead of a message. A caller tells them apart with errors.Is;
// each becomes an exit status of its own in package applets.
var (
	ErrNoBuffer = errors.New("no such buffer")               // nobody holds the name
	ErrEmpty    = errors.New("nothing is waiting")           // the buffer has no message now
	ErrEnd      = errors.New("the buffer is closed")         // closed, and all that was in it has been taken
	ErrTimeout  = errors.New("timed out")                    // the caller's own limit of time is over
	ErrFull     = errors.New("the buffer is full")           // and the caller did not want to wait
	ErrHeld     = errors.New("the name is in use")           // another daemon holds it
	ErrGone     = errors.New("the buffer's daemon has died") // it vanished in the middle of an answer
)

// ErrOutput is what an error is that came from writing a reader's messages out.
var ErrOutput = errors.New("standard output")

// ErrName is what an error about an invalid name is.
var ErrName = errors.New("not a name")

// ErrVerb says that a buffer was asked for what only the other kind does: an output is
// written and an input is read.
var ErrVerb = errors.New("wrong kind of buffer")
