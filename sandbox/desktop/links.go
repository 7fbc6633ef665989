package desktop

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// links makes the way by which the program asks for a link to be opened: it writes the link, a line, into a FIFO.
// Nothing comes back, and all that the other side does with a line is to check it and open it.
//
// Beside the FIFO lies what makes programs use it: a script for those that run $BROWSER, and a desktop entry that
// is the default for links, for those that go by MIME types.
func (s *Session) links() error {
	room := s.options.Rooms[RoomLinks]
	for _, dir := range []string{"/config", "/share", "/share/applications"} {
		if err := os.Mkdir(room+dir, 0o755); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"/open-link", openLink, 0o755},
		{"/share/applications/" + linkEntry, fmt.Sprintf(desktopEntry, s.config.Links), 0o644},
		{"/config/mimeapps.list", mimeApps, 0o644},
	} {
		if err := os.WriteFile(room+f.name, []byte(f.text), f.mode); err != nil {
			return err
		}
		if err := os.Chmod(room+f.name, f.mode); err != nil { // whatever the umask
			return err
		}
	}
	if err := unix.Mkfifo(room+"/links", 0o600); err != nil {
		return fmt.Errorf("make the pipe for links: %w", err)
	}
	if err := os.Chmod(room+"/links", 0o622); err != nil {
		return err
	}
	// Open for both, the pipe never ends, and no program waits for somebody to read it.
	pipe, err := os.OpenFile(room+"/links", os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open the pipe for links: %w", err)
	}
	s.keep(pipe)
	go s.openLinks(pipe)
	return nil
}

const (
	linkEntry = "jail-open-link.desktop"

	openLink = `#!/bin/sh
# Asks jail, outside, to open links in the session's browser or mail program.
for link; do
	printf '%s\n' "$link" >"${0%/*}/links" || exit 1
done
`
	desktopEntry = `[Desktop Entry]
Type=Application
Name=Open outside of the sandbox
NoDisplay=true
Exec=%s/open-link %%u
MimeType=x-scheme-handler/http;x-scheme-handler/https;x-scheme-handler/mailto;
`
	mimeApps = `[Default Applications]
x-scheme-handler/http=` + linkEntry + `
x-scheme-handler/https=` + linkEntry + `
x-scheme-handler/mailto=` + linkEntry + `
`
)

const (
	maxLink = 8 << 10
	// A program that opens more links than a person can want is held back: a few at once, then one in a while.
	linkBurst = 5
	linkPause = 2 * time.Second
)

// openLinks opens what the program writes into the pipe, until the pipe is closed.
func (s *Session) openLinks(pipe *os.File) {
	lines := bufio.NewReaderSize(pipe, maxLink)
	budget, last := linkBurst, time.Now()
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.notice("a link of more than %d bytes was not opened", maxLink)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			line = nil
		}
		if err != nil {
			return
		}
		link := strings.TrimSuffix(string(line), "\n")
		if link == "" {
			continue
		}
		if err := checkLink(link); err != nil {
			s.notice("the program asked to open %q: not opened, %v", link, err)
			continue
		}
		now := time.Now()
		if n := int(now.Sub(last) / linkPause); n > 0 {
			budget, last = min(budget+n, linkBurst), now
		}
		if budget == 0 {
			s.notice("the program asked to open more links than one every %v: %q was not opened", linkPause, link)
			continue
		}
		budget--
		if err := s.options.Open(link); err != nil {
			s.notice("the program asked to open %q: %v", link, err)
		}
	}
}

// mailFields are what a mailto link may fill in (RFC 6068). Others are not harmless: some mail programs attach the
// file that `attach` names, which a program in a sandbox could have a person send.
var mailFields = map[string]bool{"to": true, "cc": true, "bcc": true, "subject": true, "body": true, "in-reply-to": true}

// checkLink tells whether a link is one that opens a page or begins a mail, and nothing else. What is let through
// is printable ASCII that begins with its scheme: no option of whatever opens it, nothing for a shell to stumble on
// that a URL does not have anyway.
func checkLink(link string) error {
	for i := range len(link) {
		if c := link[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"'`\\<>{}|^", c) >= 0 {
			return errors.New("it has a character that no link has unescaped")
		}
	}
	u, err := url.Parse(link)
	if err != nil {
		return errors.New("it is no link")
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" || u.Opaque != "" {
			return errors.New("it names no host")
		}
		if u.User != nil {
			return errors.New("it carries a user name, which hides where it leads")
		}
		return nil
	case "mailto":
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return errors.New("it is no link")
		}
		for field := range query {
			if !mailFields[strings.ToLower(field)] {
				return fmt.Errorf("a mail link must not set %q", field)
			}
		}
		return nil
	}
	return errors.New("only http, https and mailto links are opened")
}
