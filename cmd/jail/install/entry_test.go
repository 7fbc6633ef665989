package install

import (
	"slices"
	"testing"
)

func TestParseExec(t *testing.T) {
	tests := []struct {
		value       string
		args        []string
		environment []string
	}{
		{`firefox %u`, []string{"firefox", "%u"}, nil},
		{`/usr/bin/app --name "two words" %F`, []string{"/usr/bin/app", "--name", "two words", "%F"}, nil},
		// The string's own escapes come first: \\ is one backslash, which then quotes.
		{`sh -c "echo \\$HOME \\"x\\" \\\\\\\\"`, []string{"sh", "-c", `echo $HOME "x" \\`}, nil},
		{`env A=1 B="2 3" app --flag`, []string{"app", "--flag"}, []string{"A=1", "B=2 3"}},
		{`app ""`, []string{"app", ""}, nil},
		{`app\swith`, []string{"app", "with"}, nil},
	}
	for _, test := range tests {
		c, err := parseExec(test.value)
		if err != nil || !slices.Equal(c.args, test.args) || !slices.Equal(c.environment, test.environment) {
			t.Errorf("%s: %q %q %v", test.value, c.environment, c.args, err)
		}
		// What is written is read as the same.
		again, err := parseExec(c.through([]string{"jail", "run"}))
		want := []string{"jail", "run"}
		for _, set := range c.environment {
			want = append(want, "--env", set)
		}
		if want = append(append(want, "--"), c.args...); err != nil || !slices.Equal(again.args, want) {
			t.Errorf("%s: written and read again: %q %v, want %q", test.value, again.args, err, want)
		}
	}
	for _, bad := range []string{``, `"open`, `env`, `env A=1`, `env -i app`, `"" x`} {
		if c, err := parseExec(bad); err == nil && bad != "env" {
			t.Errorf("%s: taken for %q", bad, c.args)
		}
	}
}

func TestEntryThroughJail(t *testing.T) {
	e := parseEntry([]byte(`# kept
[Desktop Entry]
Name=Web
Name[de]=Netz
Exec=/usr/bin/web --url=%u
TryExec=/usr/bin/web
Icon=web
MimeType=text/html;x-scheme-handler/https;
DBusActivatable=true
Actions=new;

[Desktop Action new]
Name=New
Exec=web --new "a b"
`))
	if e.program() != "/usr/bin/web" {
		t.Errorf("program %q", e.program())
	}
	got, err := e.through([]string{"/opt/my jail/jail", "run", "--profile", "/home/a/p.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	want := `# kept
[Desktop Entry]
Name=Web
Name[de]=Netz
Exec="/opt/my jail/jail" run --profile /home/a/p.yaml -- /usr/bin/web --url=%u
TryExec=/usr/bin/web
Icon=web
MimeType=text/html;x-scheme-handler/https;
DBusActivatable=false
Actions=new;

[Desktop Action new]
Name=New
Exec="/opt/my jail/jail" run --profile /home/a/p.yaml -- web --new "a b"
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
