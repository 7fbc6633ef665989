// Command netrun runs a program on a network of netsetup's making, without the
// rest of a sandbox. It is for tests: it enters the namespaces with nsenter and
// makes the program root of a user namespace below (the most that any program
// can get), with resolv.conf and hosts in place.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"jail/netsetup"
)

func main() {
	config := flag.String("config", `{"mode":"veth","egress":[]}`, "the network annotation")
	gateway := flag.String("gateway", "", "the gateway program")
	dir := flag.String("runtime", "", "the runtime directory, for named networks")
	sandbox := flag.String("name", "", "the sandbox's name")
	flows := flag.Bool("flows", false, "print the connections when the program ends")
	timing := flag.Bool("timing", false, "print how long the network took")
	plain := flag.Bool("plain", false, "run the program as the user, without resolv.conf")
	flag.Parse()
	code, err := run(*config, *gateway, *dir, *sandbox, *flows, *timing, *plain, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "netrun:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run(config, gateway, dir, sandbox string, flows, timing, plain bool, args []string) (int, error) {
	c, err := netsetup.Parse(config)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	n, err := netsetup.Start(c, netsetup.Options{
		Gateway: func() (string, []string, *os.File, error) { return gateway, []string{"jail-net-gateway"}, nil, nil },
		Sandbox: sandbox, Hostname: "inside", RuntimeDir: dir, Stderr: os.Stderr,
		Events: func(e netsetup.Event) {
			b, _ := json.Marshal(e)
			fmt.Fprintf(os.Stderr, "event: %s\n", b)
		},
	})
	if err != nil {
		return 0, err
	}
	defer n.Close()
	at, err := n.Ready()
	if err != nil {
		return 0, err
	}
	if timing {
		fmt.Fprintf(os.Stderr, "ready after %v, way %s\n", time.Since(begin), at.Way)
	}
	tmp, err := os.MkdirTemp("", "netrun")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	for name, content := range map[string][]byte{"resolv.conf": at.Plan.ResolvConf, "hosts": at.Plan.HostsIn} {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
			return 0, err
		}
	}
	enter := []string{"--user=/proc/self/fd/3", "--net=/proc/self/fd/4", "--preserve-credentials", "--"}
	if !plain {
		enter = append(enter, "unshare", "-r", "-m", "sh", "-c",
			`mount --bind "$0/resolv.conf" /etc/resolv.conf && mount --bind "$0/hosts" /etc/hosts && exec "$@"`, tmp)
	}
	cmd := exec.Command("nsenter", append(enter, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{at.UserNS, at.NetNS}
	cmd.Env = append(os.Environ(), "GATEWAY4="+at.Plan.Gateway4.String(), "GATEWAY6="+at.Plan.Gateway6.String(),
		"HOST4="+at.Plan.Host4.String(), "HOST6="+at.Plan.Host6.String(), "ADDR4="+at.Plan.Addr4.String(), "ADDR6="+at.Plan.Addr6.String(),
		"GATEWAYPID="+fmt.Sprint(n.PID()))
	err = cmd.Run()
	if flows {
		list, err := n.Flows()
		if err != nil {
			return 0, err
		}
		b, _ := json.Marshal(list)
		fmt.Fprintf(os.Stderr, "flows: %s\n", b)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return 0, nil
}
