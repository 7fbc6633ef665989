package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/netsetup"
	"jail/sandbox"
	"jail/sandbox/running"
)

// annotationProfile is the name of the profile that a spec was made from.
const annotationProfile = "dev.jail.profile"

// specLabel is what the supervisor keeps its OCI spec under, for those who join the sandbox.
const specLabel = "spec"

// keepSpecAfter is how long a sandbox must have lived until its spec is written down for others, which takes a
// millisecond: most commands end sooner and are spared it, and nobody types `jail exec` faster.
const keepSpecAfter = 250 * time.Millisecond

// presence is how others find this sandbox.
type presence struct {
	a     *app
	spec  *specs.Spec
	plan  *sandbox.Plan
	state running.State
	entry *running.Entry
	mu    sync.Mutex // entry, state and log, once the sandbox runs
	// log is what the network has refused, for `jail net log`; early is what came before others could find it.
	log     *os.File
	early   []byte
	network *netsetup.Attached // for those who join it
}

// logLabel is what the supervisor keeps the log of the network under, a JSON object a line.
const logLabel = "net-log"

// record writes one line of the network's log. The network bounds how many there are. The file is made with the
// first line: most sandboxes are refused nothing.
func (p *presence) record(line []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.early = append(p.early, line...)
	p.writeLog()
}

func (p *presence) writeLog() {
	if p.entry == nil || len(p.early) == 0 {
		return
	}
	var err error
	if p.log == nil {
		p.log, err = p.entry.KeepFile(logLabel)
	}
	if err == nil {
		_, err = p.log.Write(p.early)
	}
	if err != nil {
		p.a.verbose("the network's log: %v", err)
	}
	p.early = nil
}

// announce readies what others will find. A name that the user has given is claimed now, before anything starts;
// all else waits until the sandbox is on its way.
func (a *app) announce(spec *specs.Spec, plan *sandbox.Plan) (*presence, error) {
	p := &presence{a: a, spec: spec, plan: plan, state: running.State{
		Name: spec.Annotations[annotationName], Profile: spec.Annotations[annotationProfile],
		Args: spec.Process.Args, Terminal: spec.Process.Terminal, Network: networkFacts(spec), Alone: plan.Alone(), Jail: version,
	}}
	if p.state.Name == "" {
		return p, nil
	}
	p.state.Given = true
	var err error
	if p.entry, err = running.Publish(&p.state); err != nil {
		return nil, fmt.Errorf("--name: %w", err)
	}
	return p, nil
}

// tell adds to what others find of the network, and what they need to join it. Preconditions: nothing has been told
// of the sandbox itself.
func (p *presence) tell(facts map[string]string, network *netsetup.Attached) {
	maps.Copy(p.state.Network, facts)
	p.network = network
}

// started tells of the sandbox, which sets itself up meanwhile. That nobody finds it is no reason to end it.
func (p *presence) started(proc *sandbox.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.First = proc.PID()
	var err error
	if p.entry == nil {
		p.entry, err = running.Publish(&p.state)
	} else {
		err = p.entry.Update(&p.state)
	}
	if err != nil {
		p.a.verbose("%v", err)
		return
	}
	if p.network != nil {
		memo, err := p.network.Memo()
		if err == nil {
			err = p.entry.Keep(networkLabel, memo)
		}
		if err != nil {
			p.a.verbose("nobody can join this sandbox's network: %v", err)
		}
	}
	p.writeLog()
	time.AfterFunc(keepSpecAfter, p.keepSpec)
}

// keepSpec writes the spec down for those who join.
func (p *presence) keepSpec() {
	spec := *p.spec
	spec.Annotations = map[string]string{} // others read the spec's own at the same time
	maps.Copy(spec.Annotations, p.spec.Annotations)
	delete(spec.Annotations, sandbox.AnnotationLandlock) // a bundle's own is no word of ours
	if rules := p.plan.Landlock(); rules != "" {
		spec.Annotations[sandbox.AnnotationLandlock] = rules
	}
	text, err := json.Marshal(&spec)
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		err = p.entry.Keep(specLabel, text)
	}
	if err != nil {
		p.a.verbose("nobody can join this sandbox: %v", err)
	}
}

// networkFacts is what a spec alone says of the network.
func networkFacts(spec *specs.Spec) map[string]string {
	mode := "host"
	if spec.Linux != nil {
		for _, ns := range spec.Linux.Namespaces {
			if ns.Type == specs.NetworkNamespace {
				mode = "none"
			}
		}
	}
	if text := spec.Annotations[annotationNetwork]; text != "" {
		var n struct {
			Mode string `json:"mode"`
		}
		if json.Unmarshal([]byte(text), &n) == nil && n.Mode != "" {
			mode = n.Mode
		}
	}
	return map[string]string{"mode": mode}
}
