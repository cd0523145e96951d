// Idle makes connections that nothing happens on.
//
//	idle dial COUNT ADDR    opens so many to ADDR
//	idle accept ADDR        takes any number, and keeps them: the least that a listener can do
//
// It prints "ready" when they are open, or it can take them, and waits to be ended, an hour at most.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var conns []net.Conn
	switch {
	case len(args) == 3 && args[0] == "dial":
		count, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		for range count {
			c, err := net.Dial("tcp", args[2])
			if err != nil {
				return fmt.Errorf("after %d connections: %w", len(conns), err)
			}
			conns = append(conns, c)
		}
	case len(args) == 2 && args[0] == "accept":
		ln, err := net.Listen("tcp", args[1])
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go io.Copy(io.Discard, c)
			}
		}()
	default:
		return fmt.Errorf("usage: idle dial COUNT ADDR | idle accept ADDR")
	}
	fmt.Println("ready")
	time.Sleep(time.Hour)
	runtime.KeepAlive(conns)
	return nil
}
