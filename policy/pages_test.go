package policy

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jail/profiles"
)

const pagesDir = "../docs/profiles"

// TestProfilePages keeps docs/profiles: a page for each shipped profile, made from its file, from what explain says
// of it, and from the tests that run it.
func TestProfilePages(t *testing.T) {
	proved := provedBy(t)
	made := map[string]bool{"README.md": true}
	var pages []profilePage
	for _, file := range embeddedFiles(&Host{Shipped: profiles.Files}) {
		p := readPage(t, file)
		p.proof = proved[p.name]
		delete(proved, p.name)
		pages = append(pages, p)
		made[p.name+".md"] = true
	}
	for name := range proved {
		t.Errorf("test/profiles runs the profile %s, which is not shipped", name)
	}
	if *update {
		if err := os.MkdirAll(pagesDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	upToDate(t, pagesDir+"/README.md", []byte(indexPage(pages)))
	for i := range pages {
		upToDate(t, pagesDir+"/"+pages[i].name+".md", []byte(pages[i].text(t, pages)))
	}
	old, err := filepath.Glob(pagesDir + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range old {
		if made[filepath.Base(file)] {
			continue
		}
		if !*update {
			t.Errorf("%s is the page of no profile; run 'make docs'", file)
		} else if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

type profilePage struct {
	name, file string
	doc        *Document
	source     string
	proof      proof
}

func readPage(t *testing.T, file string) profilePage {
	t.Helper()
	text, err := os.ReadFile("../profiles/" + file)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSuffix(path.Base(file), ".yaml")
	doc, problems := decodeSource(&source{file: file, name: name, text: text})
	if problems != nil {
		t.Fatal(problems)
	}
	return profilePage{name: name, file: file, doc: doc, source: string(text)}
}

func (p *profilePage) fragment() bool { return strings.HasPrefix(p.file, fragmentDir) }

var (
	rowOf   = regexp.MustCompile(`profile: "([a-z0-9-]+)"(?:, (program|standIn): "([^"]+)")?`)
	agentOf = regexp.MustCompile(`(?m)^\t\t\{"([a-z]+)", "([a-z]*)", (?:nil|\[\])`)
)

// A proof is what the tests run in a profile: programs, or what a program that no test has is built on.
type proof struct {
	programs []string
	standIn  string
}

type proofs map[string]proof

func (all proofs) with(profile, program string) {
	p := all[profile]
	p.programs = append(p.programs, program)
	all[profile] = p
}

// provedBy reads from the tables of test/profiles which profile is run, and with which programs.
func provedBy(t *testing.T) proofs {
	t.Helper()
	files, err := filepath.Glob("../test/profiles/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests of profiles: %v", err)
	}
	proved := proofs{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range rowOf.FindAllStringSubmatch(string(text), -1) {
			switch m[2] {
			case "":
				proved.with(m[1], m[1])
			case "program":
				proved.with(m[1], m[3])
			case "standIn":
				proved[m[1]] = proof{standIn: m[3]}
			}
		}
		for _, m := range agentOf.FindAllStringSubmatch(string(text), -1) {
			proved.with(m[1], "a stand-in for a coding agent")
		}
	}
	return proved
}

// status says what the tests know of a profile.
func (p *profilePage) status() string {
	switch {
	case len(p.proof.programs) > 0:
		return "proved by test/profiles with " + strings.Join(p.proof.programs, ", ")
	case p.proof.standIn != "":
		return "no test runs the program itself, which Debian does not carry; test/profiles runs " + p.proof.standIn + " in its place, which it is built on"
	}
	return "no test runs this profile"
}

func indexPage(pages []profilePage) string {
	var b strings.Builder
	b.WriteString("# The shipped profiles\n\nMade from the files in `profiles/` by `make docs`. `jail PROGRAM` takes the profile that is for the program; `jail explain\nPROGRAM` says on your machine what these pages say on an example's.\n")
	for _, part := range []struct {
		heading string
		belongs func(*profilePage) bool
	}{
		{"For programs", func(p *profilePage) bool { return len(p.doc.programs(p.name)) > 0 }},
		{"For any program, with --profile", func(p *profilePage) bool { return len(p.doc.programs(p.name)) == 0 && !p.fragment() }},
		{"Parts to build from, with extends", (*profilePage).fragment},
	} {
		b.WriteString("\n## " + part.heading + "\n\n| profile | what it is | programs | tests |\n| --- | --- | --- | --- |\n")
		for i := range pages {
			p := &pages[i]
			if !part.belongs(p) {
				continue
			}
			tests := "none"
			switch {
			case len(p.proof.programs) > 0:
				tests = "yes"
			case p.proof.standIn != "":
				tests = p.proof.standIn + " in its place"
			}
			if p.fragment() {
				tests = "with what is built from it"
			}
			fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s | %s |\n", p.name, p.name, p.doc.Description.V, strings.Join(p.doc.programs(p.name), ", "), tests)
		}
	}
	return b.String()
}

func (p *profilePage) text(t *testing.T, pages []profilePage) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Made by 'make docs' from profiles/%s. -->\n\n%s\n", p.name, p.file, p.doc.Description.V)
	head, _, _ := strings.Cut(p.source, "\nversion:")
	b.WriteString("\n```text\n")
	for line := range strings.SplitSeq(head, "\n") {
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ") + "\n")
	}
	b.WriteString("```\n\n")
	if programs := p.doc.programs(p.name); len(programs) > 0 {
		b.WriteString("- For the programs: " + strings.Join(programs, ", ") + "\n")
	} else if !p.fragment() {
		b.WriteString("- For any program: `jail --profile " + p.name + " PROGRAM`\n")
	}
	if links := linksTo(p.doc); links != "" {
		b.WriteString("- Builds on: " + links + "\n")
	}
	if p.fragment() {
		b.WriteString("- Tests: those of what is built from it: " + builtFrom(p.name, pages) + "\n")
	} else {
		b.WriteString("- Tests: " + p.status() + "\n")
	}
	r := resolveShipped(t, p.name, exampleHost())
	var said strings.Builder
	if err := r.Explain(&said); err != nil {
		t.Fatal(err)
	}
	b.WriteString("\n## What it may do\n\nOn an example's machine, as `jail explain " + p.name + "` says it:\n\n```text\n" + place.ReplaceAllString(said.String(), "$1") + "```\n")
	b.WriteString(p.reasons(t, r, pages))
	return b.String()
}

func linksTo(doc *Document) string {
	var links []string
	for _, e := range doc.Extends.Items {
		links = append(links, "["+e.V+"]("+e.V+".md)")
	}
	return strings.Join(links, ", ")
}

// builtFrom names the profiles that extend a fragment, directly or not.
func builtFrom(name string, pages []profilePage) string {
	users := map[string]bool{name: true}
	for grown := true; grown; {
		grown = false
		for i := range pages {
			if !users[pages[i].name] && slices.ContainsFunc(pages[i].doc.Extends.Items, func(e Text) bool { return users[e.V] }) {
				users[pages[i].name], grown = true, true
			}
		}
	}
	delete(users, name)
	if len(users) > 20 {
		return fmt.Sprintf("%d profiles", len(users))
	}
	return strings.Join(slices.Sorted(maps.Keys(users)), ", ")
}

// reasons lists what each file of the chain says, with the comment above it. Those of base are on base's page.
func (p *profilePage) reasons(t *testing.T, r *Resolved, pages []profilePage) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("\n## Why\n")
	for i := len(r.Files) - 1; i >= 0; i-- {
		name := strings.TrimSuffix(path.Base(strings.TrimPrefix(r.Files[i], shippedPrefix)), ".yaml")
		at := slices.IndexFunc(pages, func(o profilePage) bool { return o.name == name })
		if at < 0 {
			t.Fatalf("%s builds on %s, which is not shipped", p.name, r.Files[i])
		}
		if name == "base" && p.name != "base" {
			b.WriteString("\nAnd what [base](base.md) has: the system's programs and libraries.\n")
			continue
		}
		said := commented(pages[at].source)
		if said == "" {
			continue
		}
		if name == p.name {
			b.WriteString("\nIn this profile:\n\n" + said)
		} else {
			b.WriteString("\nFrom [" + name + "](" + name + ".md):\n\n" + said)
		}
	}
	return b.String()
}

// commented lists the entries of a file below the comment that stands above them.
func commented(source string) string {
	_, body, _ := strings.Cut(source, "\nversion:")
	_, body, _ = strings.Cut(body, "\n\n") // name, description, programs, extends
	var b strings.Builder
	var reason []string
	said := true
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "#"):
			if said {
				reason, said = nil, false
			}
			reason = append(reason, strings.TrimSpace(strings.TrimPrefix(trimmed, "#")))
		case trimmed == "":
			reason, said = nil, true
		case !strings.HasPrefix(line, " ") && strings.HasSuffix(trimmed, ":"):
			if len(reason) > 0 && !said { // of the whole section
				b.WriteString("- `" + trimmed + "` " + strings.Join(reason, " ") + "\n")
			} else {
				b.WriteString("- `" + trimmed + "`\n")
			}
			reason, said = nil, true
		default:
			b.WriteString("  - `" + trimmed + "`")
			if len(reason) > 0 && !said {
				b.WriteString(" " + strings.Join(reason, " "))
			}
			b.WriteString("\n")
			said = true
		}
	}
	return b.String()
}
