// Datagrams measures what carries datagrams.
//
//	datagrams echo             sends back what comes, and prints its port first; it ends with its stdin
//	datagrams rtt PORT N SIZE  N datagrams of SIZE bytes one after the other; prints the median of their
//	                           round trips in microseconds
//	datagrams run PORT N SIZE CLIENTS AHEAD
//	                           N datagrams of SIZE bytes from each of CLIENTS, who have AHEAD of them on
//	                           their way at once; prints how many came back, and the seconds it took
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "datagrams:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return fmt.Errorf("usage: datagrams echo | rtt PORT N SIZE | run PORT N SIZE CLIENTS AHEAD")
	}
	var n []int
	for _, arg := range os.Args[2:] {
		i, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		n = append(n, i)
	}
	switch what := os.Args[1]; {
	case what == "echo" && len(n) == 0:
		return echo()
	case what == "rtt" && len(n) == 3:
		return rtt(n[0], n[1], n[2])
	case what == "run" && len(n) == 5:
		return many(n[0], n[1], n[2], n[3], n[4])
	}
	return fmt.Errorf("%q: not that many numbers", os.Args[1:])
}

func echo() error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	c.SetReadBuffer(4 << 20)
	fmt.Println(c.LocalAddr().(*net.UDPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		c.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return nil
		}
		c.WriteToUDPAddrPort(b[:n], from)
	}
}

func dial(port int) (*net.UDPConn, error) {
	return net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
}

func rtt(port, n, size int) error {
	c, err := dial(port)
	if err != nil {
		return err
	}
	out, in := make([]byte, size), make([]byte, 64<<10)
	var took []time.Duration
	for range n {
		began := time.Now()
		c.SetReadDeadline(began.Add(5 * time.Second))
		if _, err := c.Write(out); err != nil {
			return err
		}
		if _, err := c.Read(in); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	fmt.Printf("%.1f\n", float64(took[n/2].Nanoseconds())/1e3)
	return nil
}

func many(port, n, size, clients, ahead int) error {
	var all sync.WaitGroup
	var back atomic.Int64
	began := time.Now()
	for range clients {
		c, err := dial(port)
		if err != nil {
			return err
		}
		all.Go(func() {
			out, in := make([]byte, size), make([]byte, 64<<10)
			for sent, got := 0, 0; got < n; {
				for ; sent < n && sent-got < ahead; sent++ {
					if _, err := c.Write(out); err != nil {
						return
					}
				}
				c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				if _, err := c.Read(in); err != nil {
					if sent == n {
						return
					}
					got = sent // lost
					continue
				}
				got++
				back.Add(1)
			}
		})
	}
	all.Wait()
	fmt.Println(back.Load(), time.Since(began).Seconds())
	return nil
}
