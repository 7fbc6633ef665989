package netsetup

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Memo is what a supervisor keeps for those who join its sandbox's network: the
// plan, with the files for /etc.
func (a *Attached) Memo() ([]byte, error) { return json.Marshal(a.Plan) }

// Join gives what the launcher needs to run a program in the network namespace of a
// running sandbox. memo is that sandbox's [Attached.Memo]. The joiner has the address of the sandbox that it joins, so the
// gateway holds it to the same rules and cannot tell the two apart; and it makes its
// own user namespace below the owner of the network, in which it has no
// capability.
//
// The namespace must belong to the caller, in a user namespace made from the
// caller's own (CVE-2022-31214). That it is still the one the sandbox had is
// for the caller to know: it holds the sandbox by a pidfd.
func Join(sandbox string, netns *os.File, memo []byte) (*Attached, error) {
	fail := func(format string, a ...any) (*Attached, error) {
		return nil, fmt.Errorf("network mode join: sandbox %s: %w", sandbox, fmt.Errorf(format, a...))
	}
	if sameFile("/proc/self/fd/"+strconv.Itoa(int(netns.Fd())), "/proc/self/ns/net") {
		return fail("it has the host's network\nuse network mode host, if that is what you want")
	}
	fd, err := unix.IoctlRetInt(int(netns.Fd()), nsGetUserNS)
	if err != nil {
		return fail("owner of its network namespace: %w", err)
	}
	user := os.NewFile(uintptr(fd), "owner")
	if err := ownedBelow(user); err != nil {
		user.Close()
		return fail("its network is not one that can be joined: %w", err)
	}
	at := &Attached{UserNS: user, Plan: &Plan{}, Way: "join"}
	if err := json.Unmarshal(memo, at.Plan); err != nil {
		user.Close()
		return fail("what it keeps of its network: %w", err)
	}
	if fd, err = unix.FcntlInt(netns.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		user.Close()
		return fail("hold its network namespace: %w", err)
	}
	at.NetNS = os.NewFile(uintptr(fd), "network")
	return at, nil
}
