// Peer is the other end of one-shot programs: it takes lines at TCP and at the unix socket DIR/take,
// and gives one line to whoever connects to TCP or to DIR/give.
//
//	peer DIR LINE
//
// It prints "TAKEPORT GIVEPORT". Then each number that it reads from stdin is how many lines should
// have come since the last one: when they have, or five seconds have passed, it prints how many
// came. It ends with its stdin.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: peer DIR LINE")
	}
	dir, line := os.Args[1], os.Args[2]
	var taken atomic.Int64
	take := func(c net.Conn) {
		lines := bufio.NewScanner(c)
		for lines.Scan() {
			if lines.Text() == line { // what is not whole does not count
				taken.Add(1)
			}
		}
	}
	give := func(c net.Conn) { fmt.Fprintln(c, line) }

	var ports [2]int
	for i, to := range []struct {
		name  string
		serve func(net.Conn)
	}{{"take", take}, {"give", give}} {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		unix, err := net.Listen("unix", filepath.Join(dir, to.name))
		if err != nil {
			return err
		}
		defer unix.Close()
		ports[i] = tcp.Addr().(*net.TCPAddr).Port
		go accept(tcp, to.serve)
		go accept(unix, to.serve)
	}
	fmt.Println(ports[0], ports[1])

	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		want, err := strconv.ParseInt(questions.Text(), 10, 64)
		if err != nil {
			return err
		}
		for deadline := time.Now().Add(5 * time.Second); taken.Load() < want && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		fmt.Println(taken.Swap(0))
	}
	return questions.Err()
}

func accept(ln net.Listener, serve func(net.Conn)) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}
