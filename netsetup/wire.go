package netsetup

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The supervisor and the gateway process talk over a SOCK_SEQPACKET socket, one
// JSON object a message:
//
//	supervisor                         gateway
//	Request{attach} + memfd(Setup)
//	  + sockets of published ports ->
//	                               <-  Reply{spaces} + descriptors U1, S     (or an error)
//	                               <-  Reply{ready}                          (or an error)
//	                               <-  Reply{event}                          (each refusal, once)
//	                               <-  Reply{resolvers}                      (now and then, while names are looked up)
//	Request{resolvers} + the host's ->
//	(closes)                           takes the sandbox's link away; with the last one, ends
//
// Where the gateway comes with the first packet (hold.go) the process that it will be sends spaces with three descriptors
// more, the way out and a routing socket in either namespace, and the gateway's ready is the sign that it has taken over.
//
// Another supervisor comes into a named network over its door (shared.go):
//
//	attach as above, on a new pair
//	Request{enter} + its other end ->                                        (over the door)
//	                               <-  Reply{welcome}                        (over the new pair)
//
// `jail net top` comes over the door of any network, and does not keep it alive:
//
//	Request{watch} + its other end ->                                        (over the door)
//	Request{totals, address}       ->                                        (over the new pair)
//	                               <-  Reply{totals}

// Request is a message to the gateway.
type Request struct {
	Op string `json:"op"` // attach, resolvers, enter, watch, totals, uplink
	// Addr is the address of the sandbox whose totals are asked for.
	Addr netip.Addr `json:"addr,omitzero"`
	// Resolvers are the host's, as they are now.
	Resolvers []netip.AddrPort `json:"resolvers,omitempty"`
}

// Setup is what comes with an attach request, in a memfd because it can be longer
// than a message.
type Setup struct {
	Config Config `json:"config"`
	Plan   *Plan  `json:"plan"`
	// Sandbox is the name of the sandbox, for the other members of its network.
	Sandbox string `json:"sandbox"`
	// Group is the caller's, which may ping.
	Group int `json:"group"`
	// Resolvers are the host's, where the profile names none.
	Resolvers []netip.AddrPort `json:"resolvers,omitempty"`
	// Program is the path of the program that is the way out, if one is.
	Program string `json:"program,omitempty"`
	// Listening says what the sockets are that come with the message: root's
	// supervisor opens the published ports itself.
	Listening []ListenAt `json:"listening,omitempty"`
	// Opened is set when it has done so.
	Opened bool `json:"opened,omitempty"`
	// Linked is set when the links are made already, and UplinkFD is where frames come by.
	Linked bool `json:"linked,omitempty"`
}

// ListenAt is an open port: an entry of publish, by number, at an address.
type ListenAt struct {
	Entry int        `json:"entry"`
	Addr  netip.Addr `json:"addr"`
}

// Reply is a message from the gateway.
type Reply struct {
	// Welcome answers who came over the door, before all else.
	Welcome bool `json:"welcome,omitempty"`
	// Spaces brings the namespaces, before anything is in them: the sandbox can be
	// made meanwhile.
	Spaces bool   `json:"spaces,omitempty"`
	Ready  *Ready `json:"ready,omitempty"`
	Event  *Event `json:"event,omitempty"`
	// Resolvers asks for the host's resolvers.
	Resolvers bool `json:"resolvers,omitempty"`
	// Totals answers a totals request, over as many messages as it takes; the
	// last has Done.
	Totals []Total `json:"totals,omitempty"`
	Done   bool    `json:"done,omitempty"`
	Error  string  `json:"error,omitempty"`
	// Uplink is the host process's answer.
	Uplink *Uplink `json:"uplink,omitempty"`
}

// Ready says how the sandbox's network came out.
type Ready struct {
	// Plan is what a named network came to; others are as foreseen.
	Plan *Plan `json:"plan,omitempty"`
	// PID is the gateway process.
	PID int `json:"pid"`
	// Way is how packets leave: tap or packet for the userspace stack, which takes them
	// from there; what Config.Way gives where the kernel forwards them.
	Way string `json:"way"`
}

// Event is one refusal, or a notice.
type Event struct {
	Time    time.Time `json:"time"`
	Sandbox string    `json:"sandbox,omitempty"`
	// Kind is name (a lookup), flow, or notice.
	Kind  string     `json:"kind"`
	Proto string     `json:"proto,omitempty"`
	Addr  netip.Addr `json:"addr,omitzero"`
	Port  uint16     `json:"port,omitempty"`
	// Name was looked up, or is what the address was handed out for.
	Name string `json:"name,omitempty"`
	// Program made the attempt, where that could be found out.
	Program string `json:"program,omitempty"`
	// Rule decided, with its place; empty when none matched.
	Rule string `json:"rule,omitempty"`
	Why  string `json:"why"`
	// Write is the rule that would allow it.
	Write string `json:"write,omitempty"`
}

// Total is what a sandbox has exchanged with one destination. The zero destination stands for all those beyond the
// first few thousand.
type Total struct {
	Proto string     `json:"proto"`
	Addr  netip.Addr `json:"addr,omitzero"`
	Port  uint16     `json:"port"`
	// Name is what the address was handed out for.
	Name string `json:"name,omitempty"`
	// Published is set for what came in by a published port: Addr is the other side, Port the one inside.
	Published bool `json:"published,omitempty"`
	// Flows were made so far, and Open of them stand.
	Flows int `json:"flows"`
	Open  int `json:"open"`
	// Out and In are bytes sent and received by the sandbox.
	Out uint64 `json:"out"`
	In  uint64 `json:"in"`
}

// maxMessage bounds a message on the control socket.
const maxMessage = 64 << 10

// Send writes one message, with descriptors.
func Send(c *net.UnixConn, message any, files ...*os.File) error {
	b, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes is too long for the control socket", len(b))
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b, oob, nil)
	return err
}

// Receive reads one message and its descriptors. io.EOF when the other side is gone.
func Receive(c *net.UnixConn, message any) ([]*os.File, error) {
	b := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(4*(maxListeners+4)))
	n, oobn, flags, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	files := received(oob[:oobn])
	if n == 0 && len(files) == 0 {
		return nil, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(files)
		return nil, fmt.Errorf("a message on the control socket was cut off")
	}
	if err := json.Unmarshal(b[:n], message); err != nil {
		closeAll(files)
		return nil, fmt.Errorf("control message: %w", err)
	}
	return files, nil
}

func received(oob []byte) []*os.File {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []*os.File
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
