// Lines makes and checks a stream of numbered lines of 64 bytes.
//
//	lines make BYTES    writes so many to stdout, and their number and check sum to stderr
//	lines check         reads stdin to its end, and prints the number of bytes and the check sum
package main

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
)

const (
	length = 64
	block  = 4096 * length
)

var table = crc32.MakeTable(crc32.Castagnoli)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "make":
		var size int
		if size, err = strconv.Atoi(os.Args[2]); err == nil {
			err = generate(size)
		}
	case len(os.Args) == 2 && os.Args[1] == "check":
		err = check()
	default:
		err = fmt.Errorf("usage: lines make BYTES | lines check")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lines:", err)
		os.Exit(1)
	}
}

// generate numbers the blocks and, within a block, the lines: no two are alike, and the work for it
// is that of one line a block.
func generate(size int) error {
	b := make([]byte, block)
	for i := range b {
		b[i] = 'a' + byte(i%23)
	}
	for at := 0; at < block; at += length {
		copy(b[at:], fmt.Sprintf("%08d %06d ", 0, at/length))
		b[at+length-1] = '\n'
	}
	sum, left := uint32(0), size
	for n := 0; left > 0; n++ {
		number := fmt.Sprintf("%08d", n)
		for at := 0; at < block; at += length {
			copy(b[at:], number)
		}
		out := b[:min(left, block)]
		if _, err := os.Stdout.Write(out); err != nil {
			return err
		}
		sum = crc32.Update(sum, table, out)
		left -= len(out)
	}
	_, err := fmt.Fprintf(os.Stderr, "%d %08x\n", size, sum)
	return err
}

func check() error {
	b := make([]byte, block)
	sum, size := uint32(0), 0
	for {
		n, err := os.Stdin.Read(b)
		sum, size = crc32.Update(sum, table, b[:n]), size+n
		if err == io.EOF {
			_, err = fmt.Printf("%d %08x\n", size, sum)
			return err
		}
		if err != nil {
			return err
		}
	}
}
