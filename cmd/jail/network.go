package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/netsetup"
	gateway "jail/netsetup/program"
	"jail/policy"
	"jail/sandbox"
	"jail/sandbox/kept"
)

// annotationNetwork asks for a network that the namespaces alone do not give.
const annotationNetwork = "dev.jail.network"

// network is a sandbox's own network while it lives; of a sandbox without one only the zero value.
type network struct {
	config *netsetup.Config
	at     *netsetup.Network
	joined *netsetup.Attached // that of another sandbox
	// facts are what others can find of it (running.State.Network).
	facts map[string]string
	reports
}

// Facts of a network, for those who find its sandbox.
const (
	factGateway  = "gateway" // process id
	factAddress  = "address"
	factAddress6 = "address6"
)

// networkOf reads what a bundle asks for: nil when the namespaces alone decide.
func networkOf(spec *specs.Spec) (*netsetup.Config, error) {
	text, asked := spec.Annotations[annotationNetwork]
	if !asked {
		return nil, nil
	}
	config, err := netsetup.Parse(text)
	if err != nil {
		return nil, withHint(err)
	}
	if config.Mode == "none" || config.Mode == "host" {
		return nil, nil
	}
	return config, nil
}

// startNetwork begins to make the network that a bundle asks for, and puts the files that names are resolved
// with over the sandbox's own. The rest of the start goes on meanwhile.
func (a *app) startNetwork(b *sandbox.Bundle, host *policy.Host) (*network, error) {
	config, err := networkOf(b.Spec)
	if config == nil {
		return &network{}, err
	}
	n := &network{config: config, reports: reports{err: a.err}}
	if config.Mode == "join" {
		return n, n.joinNetwork(b)
	}
	n.at, err = netsetup.Start(config, netsetup.Options{
		Gateway: a.gateway(host), Sandbox: b.Spec.Annotations[annotationName], Hostname: b.Spec.Hostname,
		Events: n.event, Stderr: os.Stderr, Lock: lockFolder(host), Hold: hold,
	})
	if err != nil {
		return nil, withHint(err)
	}
	giveNetwork(b, n.at.Plan)
	return n, nil
}

// gateway opens the network's gateway: in jail's cache, where the first start has put it, or else in memory.
func (a *app) gateway(host *policy.Host) func() (*os.File, []string, error) {
	return func() (*os.File, []string, error) {
		return gateway.Open(func(name string, size int64, content io.Reader) (*os.File, error) {
			dir, err := kept.Open(host.CacheHome, "gateway")
			if err == nil {
				defer kept.Close(dir)
				var f *os.File
				if f, err = kept.Program(dir, name, size, content); err == nil {
					return f, nil
				}
			}
			a.verbose("the network's gateway is run from memory: %v", err)
			return nil, err
		})
	}
}

// hold begins the process that becomes a network's gateway.
func hold(h *netsetup.Hold) (netsetup.Held, error) {
	held, err := (*sandbox.NetworkHolder)(h).Start()
	if err != nil {
		return nil, err
	}
	return held, nil
}

// lockFolder is where starts in named networks wait for each other: nowhere without a home.
func lockFolder(host *policy.Host) string {
	if host.CacheHome == "" {
		return ""
	}
	return filepath.Join(host.CacheHome, "jail")
}

// foresee prints what the network would be, and gives the bundle the files it would bring.
func foresee(out io.Writer, b *sandbox.Bundle, config *netsetup.Config) error {
	if config.Mode == "join" {
		_, err := fmt.Fprintf(out, "network: that of the running sandbox %s\n", config.Name)
		return err
	}
	plan, err := netsetup.Foresee(config, b.Spec.Hostname)
	if err != nil {
		return withHint(err)
	}
	giveNetwork(b, plan)
	return plan.Describe(out, config)
}

// join hands the launcher the namespaces as soon as they are there. The sandbox sets itself up while the gateway
// fills them, and its program waits until the network stands.
func (n *network) join(o *sandbox.Options, p *presence) error {
	if n.joined != nil {
		o.ParentUserNS, o.NetNS = n.joined.UserNS, n.joined.NetNS
		p.tell(n.facts, n.joined)
		return nil
	}
	if n.at == nil {
		return nil
	}
	n.hold(p.plan.HasTerminal())
	var err error
	if o.ParentUserNS, o.NetNS, err = n.at.Spaces(); err != nil {
		return withHint(err)
	}
	ready := o.Ready
	o.Ready = func() error {
		at, err := n.at.Ready()
		if err != nil {
			return withHint(err)
		}
		p.tell(map[string]string{
			factGateway: strconv.Itoa(n.at.PID()), factAddress: at.Plan.Addr4.String(), factAddress6: at.Plan.Addr6.String(), "way": at.Way,
		}, at)
		if ready != nil {
			return ready()
		}
		return nil
	}
	return nil
}

func (n *network) close() {
	if n.at != nil {
		n.at.Close()
	}
	if n.joined != nil {
		_ = n.joined.UserNS.Close()
		_ = n.joined.NetNS.Close()
	}
}

// withHint takes the remedy, which an error of netsetup has on lines of its own, out of it.
func withHint(err error) error {
	text, hint, ok := strings.Cut(err.Error(), "\n")
	if !ok {
		return err
	}
	return &hinted{fmt.Errorf("%s", text), strings.ReplaceAll(hint, "\n", "; ")}
}

const (
	resolvConf = "/etc/resolv.conf"
	etcHosts   = "/etc/hosts"
)

// giveNetwork tells a bundle what the network that it will be given brings.
func giveNetwork(b *sandbox.Bundle, p *netsetup.Plan) {
	b.Overlays = append(b.Overlays, nameFiles(b, p)...)
	b.NetworkRoot = p.CallerIsRoot
}

// nameFiles are the network's resolv.conf and hosts. What a profile itself writes wins: a resolv.conf of its own
// stays, and the network's names come behind those of its own hosts. A file of the host's does not: it tells of
// another network.
func nameFiles(b *sandbox.Bundle, p *netsetup.Plan) []sandbox.Overlay {
	var files []sandbox.Overlay
	if _, own := inlineFile(b, resolvConf); !own {
		files = append(files, sandbox.Overlay{Path: resolvConf, Content: p.ResolvConf})
	}
	hosts := p.HostsIn
	if own, ok := inlineFile(b, etcHosts); ok {
		own = bytes.TrimRight(own, "\n")
		hosts = append(append(bytes.Clone(own), '\n'), hosts...)
	}
	return append(files, sandbox.Overlay{Path: etcHosts, Content: hosts})
}

// inlineFile finds what a bundle itself has for a file inside.
func inlineFile(b *sandbox.Bundle, name string) ([]byte, bool) {
	at := path.Join(b.Spec.Root.Path, name)
	for _, m := range b.Spec.Mounts {
		if path.Clean(m.Destination) == name {
			at = m.Source
		}
	}
	if filepath.IsAbs(at) {
		return nil, false
	}
	for _, e := range b.Tree {
		if e.Path == path.Clean(at) && e.Mode.IsRegular() {
			return e.Content, true
		}
	}
	if b.Dir == "" {
		return nil, false
	}
	root, err := os.OpenRoot(b.Dir)
	if err != nil {
		return nil, false
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(at)
	if err != nil {
		return nil, false
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return content, err == nil
}

// reports prints what the network refused. While a program has the terminal to itself the lines wait for its
// end: they would fall into what it draws.
type reports struct {
	err *printer

	mu     sync.Mutex
	held   bool
	events []netsetup.Event
	record func(line []byte)
	lines  []byte // of the log, while there is no record
}

// logTo begins to write the log.
func (r *reports) logTo(record func(line []byte)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record = record
	if len(r.lines) > 0 {
		record(r.lines)
	}
	r.lines = nil
}

func (r *reports) log(e netsetup.Event) {
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	if line = append(line, '\n'); r.record == nil {
		r.lines = append(r.lines, line...)
		return
	}
	r.record(line)
}

func (r *reports) hold(terminal bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = terminal
}

func (r *reports) event(e netsetup.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log(e)
	if r.held {
		r.events = append(r.events, e)
		return
	}
	r.print(e)
}

// tell prints what was held back.
func (r *reports) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = false
	for _, e := range r.events {
		r.print(e)
	}
	r.events = nil
}

func (r *reports) print(e netsetup.Event) {
	text, hint := refusal(e)
	r.err.line(yellow, "jail:", text, hint)
}

// refusal words an event of the network, and what to write to allow it.
func refusal(e netsetup.Event) (text, hint string) {
	var what string
	switch e.Kind {
	case "notice":
		return "network: " + e.Why, ""
	case "name":
		what = "the name " + e.Name + " is refused"
	default:
		to := e.Name
		if e.Addr != (netip.Addr{}) {
			if to = e.Addr.String(); e.Name != "" {
				to = e.Name + " (" + to + ")"
			}
		}
		what = e.Proto + " to " + to
		if e.Port != 0 {
			what += ", port " + strconv.Itoa(int(e.Port)) + ","
		}
		what += " is refused"
	}
	if e.Program != "" {
		what += " to " + e.Program
	}
	why := e.Why
	if e.Rule != "" {
		why = e.Rule
	}
	if e.Write != "" {
		hint = "to allow it, add under network.egress: - allow: \"" + e.Write + "\""
		if e.Rule != "" {
			hint += ", before the rule that refuses"
		}
	}
	return "network: " + what + ": " + why, hint
}
