package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"jail/netsetup"
	"jail/sandbox"
	"jail/sandbox/running"
)

// networkLabel is what a supervisor keeps the plan of its network under, for those who join it.
const networkLabel = "network"

// maxMemo bounds what is read of it.
const maxMemo = 1 << 20

// joinNetwork finds the network of a running sandbox. running verifies that the sandbox is the caller's, and
// netsetup that its network is.
func (n *network) joinNetwork(b *sandbox.Bundle) error {
	place := n.config.Origin("name") + "network.name: "
	box, err := running.Find(n.config.Name)
	var unknown *running.FindError
	if errors.As(err, &unknown) {
		return &hinted{fmt.Errorf("%s%s", place, unknown.Text), unknown.Hint()}
	}
	if err != nil {
		return err
	}
	defer box.Close()
	space, err := box.Namespace("net")
	if errors.Is(err, running.ErrShared) {
		return &hinted{fmt.Errorf("%sthe sandbox %s has the host's network", place, box.Name), "use network.mode: host, if that is what you want"}
	}
	if err != nil {
		return fmt.Errorf("%s%w", place, err)
	}
	defer func() { _ = space.Close() }()
	memo, err := memoOf(box)
	if err != nil {
		return withHint(fmt.Errorf("%s%w", place, err))
	}
	if n.joined, err = netsetup.Join(box.Name, space, memo); err != nil {
		return withHint(fmt.Errorf("%s%w", n.config.Origin("name"), err))
	}
	p := n.joined.Plan
	n.facts = map[string]string{"joins": box.Name, factAddress: p.Addr4.String(), factAddress6: p.Addr6.String()}
	giveNetwork(b, p)
	return nil
}

// memoOf reads what a sandbox keeps of its network. One with an empty network keeps nothing; its namespace belongs
// to the sandbox's own user namespace, below which the sandbox lets nobody make another.
func memoOf(box *running.Sandbox) ([]byte, error) {
	f, err := box.Open(networkLabel)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the sandbox %s has no network that others can join\nwith 'network: {mode: veth, egress: []}' it has one that leads nowhere", box.Name)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxMemo))
}
