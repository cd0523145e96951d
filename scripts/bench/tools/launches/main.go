// Launches has a server start programs, one connection for each, and prints how many it got in a second,
// and how much of a processor's time each of them took, in microseconds: the server's, with all that
// it has started.
//
// usage: launches SERVER-PID stream|netstring NETWORK ADDRESS BYTES CLIENTS SECONDS PROGRAM
//
// The program is to send back as many bytes as it is given. With stream the server knows which one it is,
// and the connection is its input and output; with netstring it is asked for, as sockexec is.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	if len(os.Args) != 9 {
		fmt.Fprintln(os.Stderr, "usage: launches SERVER-PID stream|netstring NETWORK ADDRESS BYTES CLIENTS SECONDS PROGRAM")
		os.Exit(2)
	}
	number := func(i int) int {
		n, err := strconv.Atoi(os.Args[i])
		check(err)
		return n
	}
	server, size, clients := number(1), number(5), number(6)
	seconds, err := strconv.ParseFloat(os.Args[7], 64)
	check(err)
	once := stream
	if os.Args[2] == "netstring" {
		once = netstring
	}
	payload := bytes.Repeat([]byte("x"), size)
	var done atomic.Int64
	var all sync.WaitGroup
	before, began := spent(server), time.Now()
	for range clients {
		all.Go(func() {
			for time.Since(began).Seconds() < seconds {
				c, err := net.Dial(os.Args[3], os.Args[4])
				check(err)
				got, err := once(c, payload, os.Args[8])
				check(err)
				c.Close()
				if got != size {
					check(fmt.Errorf("%d bytes of %d came back", got, size))
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	n := float64(done.Load())
	fmt.Printf("%.0f %.0f\n", n/took.Seconds(), float64((spent(server)-before).Microseconds())/n)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "launches:", err)
		os.Exit(1)
	}
}

// stream sends everything, ends its half, and reads to the end.
func stream(c net.Conn, payload []byte, _ string) (int, error) {
	go func() {
		c.Write(payload)
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	n, err := io.Copy(io.Discard, c)
	return int(n), err
}

func netstring(c net.Conn, payload []byte, program string) (int, error) {
	request := fmt.Appendf(nil, "1:1,%d:%s,", len(program), program)
	if len(payload) > 0 {
		request = fmt.Appendf(request, "%d:%s,", len(payload), payload)
	}
	go c.Write(append(request, "0:,"...))
	r := bufio.NewReader(c)
	word := func() (string, error) {
		head, err := r.ReadString(':')
		if err != nil {
			return "", err
		}
		n, err := strconv.Atoi(strings.TrimSuffix(head, ":"))
		if err != nil {
			return "", err
		}
		b := make([]byte, n+1)
		_, err = io.ReadFull(r, b)
		return string(b[:n]), err
	}
	got, ended := 0, false
	for {
		tag, err := word()
		if err == io.EOF && ended {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		value, err := word()
		if err != nil {
			return got, err
		}
		switch tag {
		case "stdout":
			got += len(value)
		case "exitcode":
			ended = true
			if value != "0" {
				return got, fmt.Errorf("exit code %s", value)
			}
		default:
			return got, fmt.Errorf("%s: %s", tag, value)
		}
	}
}

// spent is the processor's time that a process and what descends from it has taken, also what has ended
// and is reaped.
func spent(root int) time.Duration {
	parents, ticks := map[int]int{}, map[int]int64{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		parents[pid], _ = strconv.Atoi(f[1])
		for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime: proc_pid_stat(5)
			n, _ := strconv.ParseInt(f[i], 10, 64)
			ticks[pid] += n
		}
	}
	sum := int64(0)
	for pid := range parents {
		for p := pid; p > 1; p = parents[p] {
			if p == root {
				sum += ticks[pid]
				break
			}
		}
	}
	return time.Duration(sum) * (time.Second / 100) // USER_HZ, the same everywhere
}
