// Sockbox gives shell scripts the network: one static binary, many small commands.
package main

import "sockbox/applets"

func main() { applets.Main() }
