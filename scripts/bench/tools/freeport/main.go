// Freeport prints a TCP port that is free on loopback, and below those that the kernel gives to who
// connects.
package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

func main() {
	for {
		port := 10000 + rand.IntN(20000)
		ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		ln.Close()
		fmt.Println(port)
		return
	}
}
