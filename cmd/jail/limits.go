package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/policy"
	"jail/sandbox"
	"jail/sandbox/cgroup"
)

// Annotations that the limits of a bundle go by, as docs/how-it-works.md has them.
const (
	annotationEnforcement = "dev.jail.enforcement"
	annotationOrigins     = "dev.jail.origins"
)

// limits is a sandbox's control group, from the request to the words about what it did. A nil one stands for a start
// without.
type limits struct {
	app     *app
	spec    *specs.Spec
	pending *cgroup.Pending
	group   *cgroup.Group
	asked   bool // for limits; otherwise the group only counts, for a report
}

// beginLimits begins to make the control group beside what else a start has to do: a manager that is asked for one
// takes longer than all of that. A start without limits and without a report does nothing here.
func (a *app) beginLimits(spec *specs.Spec, counting bool) (*limits, error) {
	var res *specs.LinuxResources
	if spec.Linux != nil {
		res = spec.Linux.Resources
	}
	asked := res != nil && cgroup.Asked(res)
	if !asked && !counting {
		return nil, nil
	}
	level, err := enforcement(spec, "limits")
	if err != nil {
		return nil, err
	}
	if level == "off" {
		a.verbose("limits: switched off")
		asked = false
	}
	if !asked {
		if !counting {
			return nil, nil
		}
		res, level = nil, "prefer"
	}
	l := &limits{app: a, spec: spec, asked: asked}
	l.pending = cgroup.Begin(res, cgroup.Options{
		Enforcement: cgroup.Enforcement(level), Name: sandboxName(spec), Account: counting, KillWithJail: true, Survey: a.survey,
	})
	return l, nil
}

// enforcement is the level of a layer: require, prefer or off.
func enforcement(spec *specs.Spec, layer string) (string, error) {
	text, there := spec.Annotations[annotationEnforcement]
	if !there {
		return "require", nil
	}
	var levels map[string]string
	if err := json.Unmarshal([]byte(text), &levels); err != nil {
		return "", fmt.Errorf("config.json/annotations/%s: %w", annotationEnforcement, err)
	}
	switch level := cmp.Or(levels[layer], "require"); level {
	case "require", "prefer", "off":
		return level, nil
	default:
		return "", fmt.Errorf("config.json/annotations/%s: %s: %q is none of require, prefer, off", annotationEnforcement, layer, level)
	}
}

// sandboxName is what the sandbox is called on the machine: as --name says, else like its profile.
func sandboxName(spec *specs.Spec) string {
	for _, annotation := range []string{annotationName, annotationProfile} {
		if name := spec.Annotations[annotation]; isName(name) {
			return name
		}
	}
	return "sandbox"
}

// enter waits for the group and has the sandbox born in it.
func (l *limits) enter(o *sandbox.Options) error {
	if l == nil {
		return nil
	}
	var err error
	if l.group, err = l.pending.Wait(); err != nil {
		var refused cgroup.Refusals
		if errors.As(err, &refused) {
			told := l.refusal(refused)
			last := told[len(told)-1]
			last.hint = strings.TrimPrefix(last.hint+"; or go without, and be warned: --set enforcement.limits=prefer", "; or ")
			return told
		}
		return fmt.Errorf("make the sandbox's control group: %w", err)
	}
	if l.asked {
		for _, w := range l.refusal(l.group.Warnings()) {
			l.app.err.line(yellow, "jail: warning:", w.Error(), w.hint)
		}
	}
	l.app.verbose("limits: kept by %s", l.group)
	if l.group.Way() == cgroup.None {
		return nil
	}
	if fd := l.group.FD(); fd >= 0 {
		o.CgroupFD = fd
	}
	if l.group.Held() {
		o.Hold = l.group.Add
	}
	o.End = l.group.Kill
	return nil
}

// folders are the group's, for those who look at the running sandbox.
func (l *limits) folders() []string {
	if l == nil {
		return nil
	}
	return l.group.Folders()
}

// explain says what the limits did to the program, each with the line that set it.
func (l *limits) explain() {
	if l == nil || l.group == nil || !l.asked {
		return
	}
	for _, c := range l.group.Causes(l.group.Events()) {
		text := c.Text
		if c.Pointer != "" {
			text = origin(l.spec, c.Pointer) + ": " + text
		}
		l.app.err.line(yellow, "jail:", text, "")
	}
}

// close ends what is left of the sandbox and takes its group away.
func (l *limits) close() {
	if l == nil {
		return
	}
	if l.group == nil {
		l.group, _ = l.pending.Wait() // a start that failed before enter, or in it: then there is none
	}
	if err := l.group.Close(); err != nil {
		l.app.err.line(yellow, "jail: warning:", err.Error(), "")
	}
}

// refusal words limits that cannot be kept, each with the line that asks for it.
func (l *limits) refusal(all []*cgroup.Refused) refusals {
	return worded(all, func(pointer string) string { return origin(l.spec, pointer) + ": " })
}

// worded parts what is wrong from what mends it. What mends several is told once.
func worded(all []*cgroup.Refused, place func(pointer string) string) refusals {
	var out refusals
	for i, r := range all {
		text, hint, _ := strings.Cut(r.Error(), "\nhint: ")
		if r.Pointer != "" {
			text = place(r.Pointer) + text
		}
		if i+1 < len(all) && all[i+1].Remedy == r.Remedy {
			hint = ""
		}
		out = append(out, &hinted{errors.New(text), hint})
	}
	return out
}

// refusals are several errors that are told in one go.
type refusals []*hinted

func (rs refusals) Error() string {
	var lines []string
	for _, r := range rs {
		lines = append(lines, r.Error())
	}
	return strings.Join(lines, "; ")
}

// origin is the profile's place for a pointer into the spec, or for the nearest one above it; else the pointer.
func origin(spec *specs.Spec, pointer string) string {
	var origins map[string]string
	// What is no JSON here was refused when the start was planned.
	_ = json.Unmarshal([]byte(spec.Annotations[annotationOrigins]), &origins)
	for p := pointer; len(p) > 1; p = path.Dir(p) {
		if o := origins[p]; o != "" {
			return o
		}
	}
	return "config.json" + pointer
}

// explainLimits says how this machine would keep a profile's limits.
func (a *app) explainLimits(r *policy.Resolved) error {
	res := r.Resources()
	if res == nil {
		return nil
	}
	way, lacks, err := cgroup.Foresee(res, cgroup.Options{})
	if err != nil {
		return err
	}
	out := escapeLines{a.out}
	switch {
	case way == "":
		fmt.Fprintf(out, "\nOn this machine no control group can be had for the limits:\n")
	case len(lacks) == 0:
		fmt.Fprintf(out, "\nOn this machine the limits are kept by:\n  %s\n", way)
	default:
		fmt.Fprintf(out, "\nOn this machine the limits are kept by:\n  %s\nbut not these:\n", way)
	}
	for _, r := range worded(lacks, func(string) string { return "" }) {
		fmt.Fprintf(out, "  %s\n", r.Error())
		if r.hint != "" {
			fmt.Fprintf(out, "    hint: %s\n", r.hint)
		}
	}
	return nil
}
