// Command jail-net-gateway is the process between a sandbox and the host's network.
// jail starts it; it is of no use by hand. It is a program of its own because its
// TCP/IP stack would double what every start of jail costs.
package main

import (
	"os"
	"slices"

	"jail/netsetup"
	"jail/netsetup/gateway"
	"jail/netsetup/hostside"
)

func main() {
	if slices.Contains(os.Args[1:], netsetup.HostArg) {
		os.Exit(hostside.Main())
	}
	os.Exit(gateway.Main())
}
