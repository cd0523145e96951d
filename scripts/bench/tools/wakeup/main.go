// Wakeup measures how long a message takes from a TCP connection, through a program that waits for
// it, to that program's output.
//
//	wakeup dial COUNT ADDR COMMAND...      the message goes over one connection to ADDR
//	wakeup accept COUNT ADDR COMMAND...    COMMAND connects to ADDR, and the message goes there
//
// COMMAND is started COUNT times, is given 20 ms to get to waiting, and has to print the message. For
// each it prints the microseconds.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wakeup:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("usage: wakeup dial|accept COUNT ADDR COMMAND [ARG]")
	}
	how, addr, command := args[0], args[2], args[3:]
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var conn net.Conn
	var ln net.Listener
	if how == "dial" {
		conn, err = net.Dial("tcp", addr)
	} else {
		ln, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return err
	}
	for i := range count {
		took, err := once(conn, ln, command, fmt.Sprintf("message %d\n", i))
		if err != nil {
			return fmt.Errorf("%q: %w", command, err)
		}
		fmt.Printf("%.1f\n", float64(took.Nanoseconds())/1000)
	}
	return nil
}

func once(conn net.Conn, ln net.Listener, command []string, message string) (time.Duration, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	stuck := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	if ln != nil {
		if conn, err = ln.Accept(); err != nil {
			return 0, err
		}
	}
	time.Sleep(20 * time.Millisecond)

	began := time.Now()
	if _, err := io.WriteString(conn, message); err != nil {
		return 0, err
	}
	got, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(began)
	if ln != nil {
		conn.Close()
	}
	if err != nil || got != message {
		cmd.Process.Kill()
		cmd.Wait()
		return 0, fmt.Errorf("got %q (%v), want %q", got, err, message)
	}
	return took, cmd.Wait()
}
