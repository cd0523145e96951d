// Empty is what every start of a Go program costs.
package main

func main() {}
