// Streams puts load on a relay.
//
//	streams origin               is the service behind it: prints its port, and serves until it is ended
//	streams bulk N ADDR          N connections send as fast as they can
//	streams connect N ADDR       N at a time connect, send 64 bytes, get them back, and close
//	streams hold N ADDR          N connections say 64 bytes, get them back, and stay; prints "ready"
//	streams ping ADDR            64 bytes there and back on one connection, over and over
//
// Each of the others lasts for $SECONDS_EACH (1.5). They print: bytes and seconds; connections and seconds; the median and
// the 99th percentile in microseconds, and round trips.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "streams:", err)
		os.Exit(1)
	}
}

const (
	message = 64
	echo    = 'e' // the first byte says what a connection is for
	sink    = 's'

	chunk = 256 << 10
	last  = 1
)

func run(args []string) error {
	seconds := 1.5
	if s := os.Getenv("SECONDS_EACH"); s != "" {
		var err error
		if seconds, err = strconv.ParseFloat(s, 64); err != nil {
			return err
		}
	}
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case len(args) == 1 && args[0] == "origin":
		return origin()
	case len(args) == 2 && args[0] == "ping":
		return ping(args[1], d)
	case len(args) == 3 && (args[0] == "bulk" || args[0] == "connect" || args[0] == "hold"):
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		switch args[0] {
		case "bulk":
			return bulk(n, args[2], d)
		case "hold":
			return hold(n, args[2])
		}
		return connect(n, args[2], d)
	}
	return fmt.Errorf("usage: streams origin | bulk N ADDR | connect N ADDR | hold N ADDR | ping ADDR")
}

func origin() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr().(*net.TCPAddr).Port)
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var b [message]byte
			if _, err := io.ReadFull(c, b[:1]); err != nil {
				return
			}
			if b[0] == sink {
				drain(c)
				return
			}
			for at := 1; ; at = 0 {
				if _, err := io.ReadFull(c, b[at:]); err != nil {
					return
				}
				if _, err := c.Write(b[:]); err != nil {
					return
				}
			}
		}()
	}
}

// drain takes chunks, and tells how many bytes they were. A chunk's first byte tells whether it is the last: not
// every relay passes on the end of one direction.
func drain(c net.Conn) {
	b := make([]byte, chunk)
	for n := int64(0); ; {
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		n += chunk
		if b[0] == last {
			binary.Write(c, binary.BigEndian, n)
			return
		}
	}
}

// all runs n at once, and returns the first error.
func all(n int, f func() error) error {
	errs := make(chan error, n)
	var group sync.WaitGroup
	for range n {
		group.Go(func() { errs <- f() })
	}
	group.Wait()
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func bulk(n int, addr string, d time.Duration) error {
	var total atomic.Int64
	began := time.Now()
	err := all(n, func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte{sink}); err != nil {
			return err
		}
		b := make([]byte, chunk)
		sent := int64(0)
		for b[0] != last {
			if time.Since(began) > d {
				b[0] = last
			}
			if _, err := c.Write(b); err != nil {
				return err
			}
			sent += chunk
		}
		var got int64
		if err := binary.Read(c, binary.BigEndian, &got); err != nil {
			return err
		}
		if got != sent {
			return fmt.Errorf("%d bytes of %d came", got, sent)
		}
		total.Add(got)
		return nil
	})
	fmt.Println(total.Load(), time.Since(began).Seconds())
	return err
}

func connect(n int, addr string, d time.Duration) error {
	var total atomic.Int64
	began := time.Now()
	err := all(n, func() error {
		var b [message]byte
		b[0] = echo
		for time.Since(began) < d {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			_, err = c.Write(b[:])
			if err == nil {
				_, err = io.ReadFull(c, b[:])
			}
			c.Close()
			if err != nil {
				return err
			}
			total.Add(1)
		}
		return nil
	})
	fmt.Println(total.Load(), time.Since(began).Seconds())
	return err
}

func hold(n int, addr string) error {
	conns := make([]net.Conn, n)
	var b [message]byte
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		b[0] = echo
		if _, err := c.Write(b[:]); err != nil {
			return err
		}
		conns[i] = c
	}
	for _, c := range conns {
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	time.Sleep(time.Hour)
	runtime.KeepAlive(conns)
	return nil
}

func ping(addr string, d time.Duration) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	var b [message]byte
	b[0] = echo
	var times []time.Duration
	for began := time.Now(); time.Since(began) < d; {
		at := time.Now()
		if _, err := c.Write(b[:]); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return err
		}
		times = append(times, time.Since(at))
	}
	slices.Sort(times)
	n := len(times)
	fmt.Println(float64(times[n/2])/1e3, float64(times[n*99/100])/1e3, n)
	return nil
}
