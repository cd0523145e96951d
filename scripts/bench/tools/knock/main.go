// Knock connects to a TCP port again and again, sends SIZE bytes, ends its side, and wants as many back
// before the other side ends.
//
//	knock PORT SIZE CLIENTS SECONDS
//
// CLIENTS do so side by side. It prints how many conversations there were, and how many went wrong.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: knock PORT SIZE CLIENTS SECONDS")
		os.Exit(2)
	}
	size, _ := strconv.Atoi(os.Args[2])
	clients, _ := strconv.Atoi(os.Args[3])
	seconds, _ := strconv.ParseFloat(os.Args[4], 64)
	payload := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
	var good, bad atomic.Int64
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for time.Now().Before(end) {
				if converse(os.Args[1], payload) {
					good.Add(1)
				} else {
					bad.Add(1)
				}
			}
		})
	}
	all.Wait()
	fmt.Println(good.Load(), bad.Load())
}

func converse(port string, payload []byte) bool {
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if len(payload) > 0 {
		go func() {
			c.Write(payload)
			c.(*net.TCPConn).CloseWrite()
		}()
	}
	b, err := io.ReadAll(c)
	return err == nil && len(b) == len(payload)
}
