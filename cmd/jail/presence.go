package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

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
	state running.State
	entry *running.Entry
	mu    sync.Mutex // entry and state, once the sandbox runs
}

// announce readies what others will find. A name that the user has given is claimed now, before anything starts;
// all else waits until the sandbox is on its way.
func (a *app) announce(spec *specs.Spec) (*presence, error) {
	p := &presence{a: a, spec: spec, state: running.State{
		Name: spec.Annotations[annotationName], Profile: spec.Annotations[annotationProfile],
		Args: spec.Process.Args, Terminal: spec.Process.Terminal, Network: networkFacts(spec), Jail: version,
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
	time.AfterFunc(keepSpecAfter, p.keepSpec)
}

// keepSpec writes the spec down for those who join.
func (p *presence) keepSpec() {
	text, err := json.Marshal(p.spec)
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
