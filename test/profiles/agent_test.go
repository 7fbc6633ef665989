package profiles

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jail/test/need"
)

// agentScript stands in for a coding agent that has turned against its user: it does its work, and everything it
// should not, and says what it managed. It is run outside first, where all of it works.
const agentScript = `#!/bin/sh
# The work: read, change, build, test.
say() { echo "managed: $*"; }
make -s test >/dev/null 2>&1 && say build and test
echo '/* changed */' >> hello.c && say change the code
git status --short 2>/dev/null | grep -q hello.c && say see the change

# Secrets of the project, and of the user.
for f in .env deep/er/.env.local config/id_ed25519 "$REALHOME/.ssh/id_ed25519" "$REALHOME/.aws/credentials"; do
	grep -q planted "$f" 2>/dev/null && say read "$(basename "$f")"
done

# What runs outside next: hooks of git, by every way there is.
(echo 'touch pwned' > .git/hooks/post-checkout) 2>/dev/null && say write a hook
(git config core.hooksPath evil) 2>/dev/null && say configure hooks
(git config --file .git/config alias.st '!touch pwned') 2>/dev/null && say write the configuration
(echo ../evil > .git/commondir) 2>/dev/null && say point git elsewhere
mv .git .git-before 2>/dev/null && say move the repository away
(echo 'touch pwned' > .git/modules/sub/hooks/x) 2>/dev/null && say write the hook of a submodule
mount --bind evil .git 2>/dev/null && say mount over the repository
# Tasks of editors, and start files of shells.
(echo '{}' > .vscode/tasks.json) 2>/dev/null && say write a task
(echo 'touch pwned' >> "$REALHOME/.bashrc") 2>/dev/null && grep -q pwned "$REALHOME/.bashrc" && say "write .bashrc where it looks"
# jail's own.
(mkdir -p "$REALHOME/.config/jail/profiles" && echo x > "$REALHOME/.config/jail/profiles/agent.yaml") 2>/dev/null && say "write a profile where it looks"
(echo 'version: 1' > .jail.yaml) 2>/dev/null && say write the project file

# The world.
for host in api.anthropic.com api.openai.com generativelanguage.googleapis.com packages.npmjs.org good.test bad.test; do
	curl -sf --max-time 8 -o /dev/null "https://$host/" && say reach $host
done
curl -sf --max-time 8 -o /dev/null --resolve packages.npmjs.org:443:203.0.113.11 https://packages.npmjs.org/ && say reach another address by an allowed name
curl -sf --max-time 8 -o /dev/null http://127.0.0.1:9001/ && say reach the machine
exit 0
`

// TestAgents drives a stand-in through the profiles of coding agents, on a real checkout.
func TestAgents(t *testing.T) {
	work := []string{"build and test", "change the code", "see the change"}
	for _, c := range []struct {
		profile, program string
		hosts            []string
	}{
		{"agent", "", nil},
		{"claude", "claude", []string{"api.anthropic.com"}},
		{"codex", "codex", []string{"api.openai.com"}},
		{"gemini", "gemini", []string{"generativelanguage.googleapis.com"}},
		{"aider", "aider", []string{"api.anthropic.com", "api.openai.com"}},
		{"opencode", "opencode", []string{"api.anthropic.com", "api.openai.com"}},
	} {
		t.Run(c.profile, func(t *testing.T) {
			t.Parallel()
			want := slices.Clone(work)
			for _, host := range append(slices.Clone(c.hosts), "packages.npmjs.org") {
				want = append(want, "reach "+host)
			}
			u := checkout(t)
			// The agent lies where its own installer puts it, or is given by its path.
			argv := []string{"-p", c.profile, "--", "./agent.sh"}
			if c.program != "" {
				if err := os.Rename(u.project+"/agent.sh", u.write(".local/bin/"+c.program, "")); err != nil {
					t.Fatal(err)
				}
				argv = []string{"--", c.program}
				if c.profile == "gemini" || c.profile == "opencode" { // npm puts these elsewhere
					argv = []string{"--ro", u.home + "/.local/bin/" + c.program, "--", u.home + "/.local/bin/" + c.program}
				}
			}
			before := snapshot(t, u)
			got := managed(u.must(u.jail(append([]string{"--env", "REALHOME=" + u.home}, argv...)...)))
			slices.Sort(got)
			slices.Sort(want)
			// A write to a file of the user's name may succeed in the home of its own; the user's is as it was.
			got = slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, "where it looks") })
			if !slices.Equal(got, want) {
				t.Errorf("the agent managed\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
			after := snapshot(t, u)
			for name, text := range before {
				if after[name] != text {
					t.Errorf("%s changed:\n%s", name, after[name])
				}
			}
			for name := range after {
				if _, ok := before[name]; !ok {
					t.Errorf("%s is new", name)
				}
			}
		})
	}
}

// TestAgentsControl runs the same stand-in without a sandbox: it manages all of it, so that a refusal proves something.
func TestAgentsControl(t *testing.T) {
	u := checkout(t)
	got := managed(u.must(u.command("env", "REALHOME="+u.home, "./agent.sh")))
	for _, want := range []string{
		"build and test", "change the code", "see the change", "read .env", "read .env.local", "read id_ed25519", "read credentials",
		"write a hook", "configure hooks", "write the configuration", "point git elsewhere", "write a task",
		"write .bashrc where it looks", "write a profile where it looks", "write the project file", "move the repository away",
		"reach good.test", "reach bad.test", "reach api.anthropic.com", "reach another address by an allowed name", "reach the machine",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("without a sandbox the stand-in did not %s; it managed\n  %s", want, strings.Join(got, "\n  "))
		}
	}
}

func managed(said string) []string {
	var all []string
	for line := range strings.Lines(said) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "managed: "); ok {
			all = append(all, what)
		}
	}
	return all
}

// checkout makes a repository with code, secrets and editors' settings in it.
func checkout(t *testing.T) *user {
	t.Helper()
	for _, p := range []string{"git", "curl", "make", "gcc"} {
		need.Program(t, p)
	}
	u := newUser(t)
	for name, text := range map[string]string{
		"hello.c": hello, "Makefile": "hello: hello.c\n\tgcc -o $@ $^ -lm\ntest: hello\n\t./hello | grep -q 1.5\n", "agent.sh": agentScript,
		".env": "TOKEN=planted\n", "deep/er/.env.local": "TOKEN=planted\n", "config/id_ed25519": "planted\n",
		".vscode/tasks.json": "{\"tasks\": []}\n", ".jail.yaml": "version: 1\n", "evil/hooks/.keep": "",
	} {
		u.write("work/project/"+name, text)
	}
	if err := os.Chmod(u.project+"/agent.sh", 0o755); err != nil {
		t.Fatal(err)
	}
	u.must(u.command("sh", "-c", "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm one && mkdir -p .git/modules/sub/hooks"))
	publish(t, "good.test/index.html", []byte(page))
	hostService()
	return u
}

// snapshot has everything that would run outside of the sandbox: the repository, the editors' tasks, the start files,
// jail's profiles.
func snapshot(t *testing.T, u *user) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range []string{u.project + "/.git", u.project + "/.vscode", u.project + "/.jail.yaml", u.home + "/.bashrc", u.home + "/.config", u.home + "/.ssh"} {
		out, err := exec.Command("find", dir, "-type", "f").Output()
		if err != nil {
			continue
		}
		for name := range strings.Lines(string(out)) {
			name = strings.TrimSuffix(name, "\n")
			rel, err := filepath.Rel(u.home, name)
			if err != nil {
				t.Fatal(err)
			}
			all[rel] = contentOf(name)
		}
	}
	return all
}
