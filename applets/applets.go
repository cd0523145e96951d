// Package applets is the table of sockbox's commands, and one file for each of them.
package applets

import (
	"context"
	"errors"
	"os"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/docs"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/trigger"
	"sockbox/applets/internal/wait"
	"sockbox/buffer"
)

// All is every applet, in the order in which they are shown.
var All = []*cli.Applet{
	bindInputApplet,
	bindOutputApplet,
	readApplet,
	writeApplet,
	pathApplet,
	listApplet,
	closeApplet,
	triggerWaitApplet,
	triggerSendApplet,
	poolApplet,
	masterApplet,
	execApplet,
	activateApplet,
	relayApplet,
	initApplet,
	wwwApplet,
	pingApplet,
	waitApplet,
}

// Main runs the applet that the process was called for and ends the process with its status.
func Main() { program().Main() }

func program() *cli.Program {
	return &cli.Program{Applets: All, Status: status, Docs: docs.Pages{}}
}

// status is the exit status for what an applet returned: the only place where an error becomes
// one. What the statuses mean is written in package docs.
func status(err error) int {
	if err == nil {
		return 0
	}
	if code, ok := cli.Status(err); ok {
		return code
	}
	switch {
	case errors.Is(err, buffer.ErrName), errors.Is(err, buffer.ErrVerb):
		return 2
	case errors.Is(err, buffer.ErrNoBuffer):
		return 3
	case errors.Is(err, buffer.ErrEnd):
		return 4
	case errors.Is(err, secret.ErrRefused):
		return 5
	case errors.Is(err, buffer.ErrTimeout),
		errors.Is(err, trigger.ErrTimeout),
		errors.Is(err, wait.ErrTimeout),
		errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, os.ErrDeadlineExceeded):
		return 124
	}
	return 1
}
