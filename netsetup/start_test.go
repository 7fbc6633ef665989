package netsetup

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"jail/test/need"
)

// A gateway of the test's own: it hands over namespaces, and then fails.
const brokenGateway = "broken-gateway"

func TestMain(m *testing.M) {
	if len(os.Args) > 0 && os.Args[0] == brokenGateway {
		if err := beBroken(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func beBroken() error {
	c, err := net.FileConn(os.NewFile(3, "control"))
	if err != nil {
		return err
	}
	control := c.(*net.UnixConn)
	var req Request
	if _, err := Receive(control, &req); err != nil {
		return err
	}
	user, err := os.Open("/proc/self/ns/user")
	if err != nil {
		return err
	}
	space, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	if err := Send(control, Reply{Spaces: true}, user, space); err != nil {
		return err
	}
	return Send(control, Reply{Error: "no link could be made"})
}

// Namespaces that came before the failure do not make a network: Ready is what a
// program waits for.
func TestFailureAfterTheNamespaces(t *testing.T) {
	need.UserNamespaces(t)
	config, err := Parse(`{"mode":"veth"}`)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Start(config, Options{
		Gateway: func() (string, []string, *os.File, error) { return "/proc/self/exe", []string{brokenGateway}, nil, nil },
		Stderr:  os.Stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	user, space, err := n.Spaces()
	if err != nil || user == nil || space == nil {
		t.Fatalf("no namespaces: %v", err)
	}
	at, err := n.Ready()
	if err == nil || !strings.Contains(err.Error(), "no link could be made") {
		t.Errorf("Ready gave %+v, %v", at, err)
	}
}
