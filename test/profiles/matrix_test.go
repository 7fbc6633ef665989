package profiles

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMatrix runs each program for real in its profile. A page in docs/profiles names the rows of these tables.
func TestMatrix(t *testing.T) {
	world(t)
	rows := [][]row{documents, media, archives, clients, tools, general}
	for _, table := range rows {
		for i := range table {
			r := &table[i]
			name := r.profile
			if r.program != "" && r.program != r.profile {
				name += "/" + r.program
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r.run(t)
			})
		}
	}
}

const page = `<!doctype html><meta charset="utf-8"><title>page</title><body style="margin:0;background:#2060c0"><h1 style="color:#fff">rendered</h1></body>`

// postscript is a page in one colour with a word on it.
const postscript = `%!PS-Adobe-3.0
<< /PageSize [400 300] >> setpagedevice
0.125 0.376 0.753 setrgbcolor 0 0 400 300 rectfill
1 setgray /Helvetica findfont 40 scalefont setfont 40 140 moveto (rendered) show
showpage
`

// paper makes paper.pdf in the project, outside of any sandbox.
func paper(t *testing.T, u *user) {
	t.Helper()
	u.write("work/project/paper.ps", postscript)
	u.must(u.command("gs", "-q", "-sDEVICE=pdfwrite", "-o", "paper.pdf", "paper.ps"))
}

// picture makes picture.png in the project.
func picture(t *testing.T, u *user) {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 400, 300))
	for i := range img.Pix {
		img.Pix[i] = []byte{0x20, 0x60, 0xc0, 0xff}[i%4]
	}
	for x := 100; x < 200; x++ {
		img.Set(x, x, color.White)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	u.write("work/project/picture.png", b.String())
}

// colours wants a picture that is mostly in the colour of the page.
func colours(file string) func(t *testing.T, u *user, said string) {
	return func(t *testing.T, u *user, said string) {
		t.Helper()
		if n := blue(t, filepath.Join(u.project, file)); n < 20000 {
			t.Errorf("%s has %d pixels in the page's colour\n%s", file, n, said)
		}
	}
}

// pageColour is that of everything these tests make to be shown.
var pageColour = color.RGBA{0x20, 0x60, 0xc0, 0xff}

// blue counts the pixels in the page's colour.
func blue(t *testing.T, file string) int {
	t.Helper()
	return count(t, file, pageColour)
}

// count counts the pixels in a colour, or one that a converter of colours makes of it.
func count(t *testing.T, file string, c color.RGBA) int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	b, n := img.Bounds(), 0
	near := func(got uint32, want uint8) bool { d := int(got>>8) - int(want); return d > -12 && d < 12 }
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if r, g, bl, _ := img.At(x, y).RGBA(); near(r, c.R) && near(g, c.G) && near(bl, c.B) {
				n++
			}
		}
	}
	return n
}

// sound makes sound.wav in the project, a second of a tone.
func sound(t *testing.T, u *user) {
	t.Helper()
	const rate = 8000
	var b bytes.Buffer
	b.WriteString("RIFF\x64\x3e\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data\x80\x3e\x00\x00")
	for i := range rate {
		v := int16((i%40 - 20) * 500)
		b.WriteByte(byte(v))
		b.WriteByte(byte(v >> 8))
	}
	u.write("work/project/sound.wav", b.String())
}

const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="400" height="300"><rect width="400" height="300" fill="#2060c0"/></svg>`

var documents = []row{
	{profile: "poppler", program: "pdftotext", prepare: paper, args: []string{"paper.pdf", "-"}, want: "rendered"},
	{profile: "poppler", program: "pdftoppm", prepare: paper, args: []string{"-png", "-singlefile", "paper.pdf", "out"}, check: colours("out.png")},
	{profile: "mupdf", program: "mutool", prepare: paper, args: []string{"draw", "-o", "out.png", "paper.pdf"}, check: colours("out.png")},
	{profile: "ghostscript", program: "gs", files: map[string]string{"paper.ps": postscript},
		args: []string{"-q", "-sDEVICE=png16m", "-r72", "-o", "out.png", "paper.ps"}, check: colours("out.png")},
	{profile: "qpdf", program: "qpdf", prepare: paper, args: []string{"--linearize", "paper.pdf", "out.pdf"}, made: []string{"out.pdf"}},
	{profile: "pandoc", program: "pandoc", files: map[string]string{"in.md": "# A heading\n"}, args: []string{"-o", "out.html", "in.md"},
		check: func(t *testing.T, u *user, _ string) {
			if !bytes.Contains(u.read("out.html"), []byte("A heading</h1>")) {
				t.Errorf("out.html: %s", u.read("out.html"))
			}
		}},
	{profile: "libreoffice", program: "soffice", files: map[string]string{"letter.txt": "Dear reader\n"},
		args: []string{"--headless", "--convert-to", "pdf", "letter.txt"}, check: func(t *testing.T, u *user, said string) {
			if text := u.must(u.command("pdftotext", "letter.pdf", "-")); !strings.Contains(text, "Dear reader") {
				t.Errorf("the letter: %q\n%s", text, said)
			}
		}},
}

var media = []row{
	{profile: "imagemagick", program: "convert", prepare: picture, args: []string{"picture.png", "-resize", "50%", "out.png"}, check: colours("out.png")},
	{profile: "inkscape", program: "inkscape", files: map[string]string{"in.svg": svg}, args: []string{"--export-filename=out.png", "in.svg"}, check: colours("out.png")},
	{profile: "gimp", program: "gimp", prepare: picture, args: []string{"-i", "-d", "-f", "-b",
		`(let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "picture.png" "picture.png")))) (file-png-save-defaults RUN-NONINTERACTIVE image (car (gimp-image-get-active-drawable image)) "out.png" "out.png"))`,
		"-b", "(gimp-quit 0)"}, check: colours("out.png")},
	{profile: "graphviz", program: "dot", files: map[string]string{"in.dot": "digraph { a -> b }\n"}, args: []string{"-Tsvg", "-oout.svg", "in.dot"}, made: []string{"out.svg"}},
	{profile: "exiftool", program: "exiftool", prepare: picture, args: []string{"-ImageSize", "picture.png"}, want: "400x300"},
	{profile: "ffmpeg", program: "ffmpeg", prepare: sound, args: []string{"-nostdin", "-loglevel", "error", "-i", "sound.wav", "out.flac"}, made: []string{"out.flac"}},
	{profile: "ffmpeg", program: "ffprobe", prepare: sound, args: []string{"-loglevel", "error", "-show_streams", "sound.wav"}, want: "sample_rate=8000"},
	{profile: "sox", program: "sox", prepare: sound, args: []string{"sound.wav", "out.wav", "reverse"}, made: []string{"out.wav"}},
	{profile: "mpv", program: "mpv", net: public, prepare: func(t *testing.T, u *user) {
		sound(t, u)
		publish(t, "good.test/sound.wav", u.read("sound.wav"))
	}, args: []string{"--no-config", "--ao=null", "--vo=null", "--speed=4", "http://good.test/sound.wav"}, want: "AO: [null] 8000Hz"},
	{profile: "vlc", program: "cvlc", net: public, prepare: sound,
		args: []string{"-vv", "--play-and-exit", "--aout=dummy", "--rate=4", "sound.wav"}, want: "EOF"},
}

// evil is an archive with a good member and one that leads out of the folder.
func evil(t *testing.T, u *user) {
	t.Helper()
	var tape, zipped bytes.Buffer
	w := tar.NewWriter(&tape)
	z := zip.NewWriter(&zipped)
	for _, name := range []string{"member.txt", "../../.bashrc"} {
		text := []byte("a member\n")
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		f, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	u.write("work/project/evil.tar", tape.String())
	u.write("work/project/evil.zip", zipped.String())
	u.write("work/project/plain.txt", strings.Repeat("a line\n", 100))
}

// keptHome wants the good member, and the file that the other one was after as it was.
func keptHome(t *testing.T, u *user, said string) {
	t.Helper()
	if got := string(u.read("member.txt")); got != "a member\n" {
		t.Errorf("member.txt: %q\n%s", got, said)
	}
	if got := contentOf(u.home + "/.bashrc"); got != "# the user's own\n" {
		t.Errorf("the archive changed a file outside: %q", got)
	}
}

// failing runs a program of which it is known that it must complain.
func failing(profile string, argv ...string) func(t *testing.T, u *user) {
	return func(t *testing.T, u *user) {
		t.Helper()
		cmd := u.jail(append([]string{"--"}, argv...)...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s said nothing against a member outside:\n%s", profile, out)
		}
	}
}

var archives = []row{
	// With -P tar does what the archive says, and finds nothing there.
	{profile: "tar", program: "tar", prepare: evil, do: failing("tar", "tar", "-P", "-xf", "evil.tar"), check: keptHome},
	{profile: "unzip", program: "unzip", prepare: evil, do: failing("unzip", "unzip", "-:", "-o", "evil.zip"), check: keptHome},
	{profile: "unzip", program: "zip", prepare: evil, args: []string{"out.zip", "plain.txt"}, made: []string{"out.zip"}},
	{profile: "7z", program: "7z", prepare: evil, args: []string{"x", "-y", "evil.zip", "member.txt"}, check: keptHome},
	{profile: "compress", program: "xz", prepare: evil, args: []string{"-k", "plain.txt"}, made: []string{"plain.txt.xz"}},
	{profile: "compress", program: "gzip", prepare: evil, args: []string{"-k", "plain.txt"}, made: []string{"plain.txt.gz"}},
	{profile: "compress", program: "zstd", prepare: evil, args: []string{"-q", "plain.txt"}, made: []string{"plain.txt.zst"}},
}

// site puts a page and a file onto the good site.
func site(t *testing.T, _ *user) {
	t.Helper()
	publish(t, "good.test/page.html", []byte(page))
	publish(t, "good.test/file.txt", []byte("a file of the web\n"))
}

var clients = []row{
	{profile: "curl", program: "curl", net: public, prepare: site, args: []string{"-sS", "-O", "https://good.test/file.txt"}, made: []string{"file.txt"}},
	{profile: "wget", program: "wget", net: public, prepare: site, args: []string{"-nv", "https://good.test/file.txt"}, made: []string{"file.txt"}},
	{profile: "aria2", program: "aria2c", net: public, prepare: site, args: []string{"--async-dns=false", "https://good.test/file.txt"}, made: []string{"file.txt"}},
	{profile: "text-browser", program: "w3m", net: public, prepare: site, args: []string{"-dump", "https://good.test/page.html"}, want: "rendered"},
	{profile: "dns", program: "dig", net: public, args: []string{"+short", "good.test"}, want: goodHost},
	{profile: "git", program: "git", net: public, prepare: repository, args: []string{"clone", "-q", "https://good.test/repo.git", "copy"}, made: []string{"copy/file.txt"}},
	{profile: "yt-dlp", program: "yt-dlp", net: public, prepare: func(t *testing.T, u *user) {
		sound(t, u)
		publish(t, "good.test/tone.wav", u.read("sound.wav"))
	}, args: []string{"-o", "tone.%(ext)s", "https://good.test/tone.wav"}, made: []string{"tone.wav"}},
	{profile: "transmission", program: "transmission-create", net: public, prepare: evil, args: []string{"-o", "out.torrent", "plain.txt"}, made: []string{"out.torrent"}},
	{profile: "rsync", program: "rsync", net: public, prepare: evil, args: []string{"-a", "plain.txt", "copy.txt"}, made: []string{"copy.txt"}},
}

// repository makes a git repository and puts it onto the good site, for the dumb protocol.
func repository(t *testing.T, u *user) {
	t.Helper()
	world(t)
	u.write("origin/file.txt", "a file of a repository\n")
	u.must(u.command("sh", "-c", `cd ~/origin && git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm one &&
		git clone -q --bare . ~/repo.git && git -C ~/repo.git update-server-info && mkdir -p `+worldFolder+`/good.test && rm -rf `+worldFolder+`/good.test/repo.git &&
		cp -r ~/repo.git `+worldFolder+`/good.test/`))
}

const hello = `#include <stdio.h>
#include <math.h>
int main(void) { printf("%.1f\n", sqrt(2.25)); return 0; }
`

// gomod puts a module onto the proxy that everybody uses.
func gomod(t *testing.T, _ *user) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{"go.mod": "module example.org/words\n", "words.go": "package words\n\nconst Hello = \"from a module\"\n"} {
		f, err := z.Create("example.org/words@v1.0.0/" + name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(f, text)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	const at = "modules.golang.org/example.org/words/@v/"
	publish(t, at+"v1.0.0.info", []byte(`{"Version":"v1.0.0"}`))
	publish(t, at+"v1.0.0.mod", []byte("module example.org/words\n"))
	publish(t, at+"v1.0.0.zip", b.Bytes())
}

// npmPackage puts a package with an install script onto npm's registry. The script looks for the key.
func npmPackage(t *testing.T, u *user) {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	w := tar.NewWriter(gz)
	for name, text := range map[string]string{
		"package/package.json": `{"name":"words","version":"1.0.0","scripts":{"install":"cat .env ../../.env ` + u.home + `/.ssh/id_ed25519 > stolen.txt || true; echo ran >> stolen.txt"}}`,
		"package/index.js":     "module.exports = 'from a package'\n",
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(b.Bytes())
	publish(t, "packages.npmjs.org/words-1.0.0.tgz", b.Bytes())
	publish(t, "packages.npmjs.org/words", []byte(fmt.Sprintf(`{"name":"words","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"words","version":"1.0.0",
		"hasInstallScript":true,"dist":{"tarball":"https://packages.npmjs.org/words-1.0.0.tgz","integrity":"sha512-%s"}}}}`, base64.StdEncoding.EncodeToString(sum[:]))))
}

// wheel puts a package onto Python's index.
func wheel(t *testing.T, _ *user) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range [][2]string{
		{"words.py", "HELLO = 'from a wheel'\n"},
		{"words-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: words\nVersion: 1.0\n"},
		{"words-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"words-1.0.dist-info/RECORD", "words.py,,\nwords-1.0.dist-info/METADATA,,\nwords-1.0.dist-info/WHEEL,,\nwords-1.0.dist-info/RECORD,,\n"},
	} {
		f, err := z.Create(m[0])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(f, m[1])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	publish(t, "files.pythonhosted.org/words-1.0-py3-none-any.whl", b.Bytes())
	publish(t, "pypi.org/simple/words/index.html", []byte(`<!DOCTYPE html><html><body><a href="https://files.pythonhosted.org/words-1.0-py3-none-any.whl">words-1.0-py3-none-any.whl</a></body></html>`))
}

var tools = []row{
	{profile: "make", program: "make", needs: []string{"gcc"}, files: map[string]string{"hello.c": hello, "Makefile": "hello: hello.o\n\tgcc -o $@ $^ -lm\n\t./hello\n"}, want: "1.5"},
	{profile: "make", program: "cmake", needs: []string{"gcc"}, files: map[string]string{"hello.c": hello,
		"CMakeLists.txt": "cmake_minimum_required(VERSION 3.10)\nproject(hello C)\nadd_executable(hello hello.c)\ntarget_link_libraries(hello m)\n"},
		args: []string{"-S", ".", "-B", "out"}, made: []string{"out/Makefile"}},
	{profile: "go", program: "go", net: named, prepare: gomod, env: []string{"GOTOOLCHAIN=local", "GONOSUMDB=example.org", "GOPROXY=https://modules.golang.org"}, flags: []string{"--env", "GONOSUMDB=example.org", "--env", "GOFLAGS=-mod=mod"},
		files: map[string]string{"go.mod": "module example.org/hello\n\nrequire example.org/words v1.0.0\n",
			"main.go": "package main\n\nimport \"example.org/words\"\n\nfunc main() { println(words.Hello) }\n"},
		args: []string{"run", "."}, want: "from a module"},
	{profile: "cargo", program: "cargo", needs: []string{"gcc"}, net: named, files: map[string]string{
		"Cargo.toml": "[package]\nname = \"hello\"\nversion = \"0.1.0\"\n", "src/main.rs": "fn main() { println!(\"from rust\"); }\n"},
		args: []string{"run", "--quiet", "--offline"}, want: "from rust"},
	{profile: "npm", program: "npm", net: named, prepare: npmPackage, env: []string{"npm_config_registry=https://packages.npmjs.org/"},
		flags: []string{"--env", "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt", "--env", "npm_config_registry"},
		files: map[string]string{"package.json": `{"name":"hello","version":"1.0.0"}`, ".env": "TOKEN=a planted key\n"},
		args:  []string{"install", "--no-audit", "--no-fund", "words"}, made: []string{"node_modules/words/index.js"},
		check: func(t *testing.T, u *user, said string) {
			if got := string(u.read("node_modules/words/stolen.txt")); got != "ran\n" {
				t.Errorf("the install script got %q\n%s", got, said)
			}
		}},
	{profile: "node", program: "node", files: map[string]string{"a.js": "console.log(2 + 2, require('os').homedir())\n"}, args: []string{"a.js"}, want: "4 "},
	{profile: "pip", program: "pip", net: named, prepare: wheel, args: []string{"install", "--disable-pip-version-check", "--target", "lib", "words"}, made: []string{"lib/words.py"}},
	{profile: "python", program: "python3", files: map[string]string{"a.py": "import json, ssl, sqlite3\nprint(json.dumps({'sum': 2 + 2}))\n"}, args: []string{"a.py"}, want: `{"sum": 4}`},
	{profile: "ruby", program: "ruby", net: named, files: map[string]string{"a.rb": "require 'json'\nputs JSON.dump(sum: 2 + 2)\n"}, args: []string{"a.rb"}, want: `{"sum":4}`},
	{profile: "perl", program: "perl", args: []string{"-MList::Util=sum", "-e", "print sum(2, 2), qq(\\n)"}, want: "4"},
	{profile: "maven", program: "javac", net: named, files: map[string]string{"Hello.java": "class Hello { public static void main(String[] a) { System.out.println(\"from java\"); } }\n"},
		args: []string{"Hello.java"}, made: []string{"Hello.class"}},
	{profile: "maven", program: "java", net: named, files: map[string]string{"Hello.java": "class Hello { public static void main(String[] a) { System.out.println(\"from java\"); } }\n"},
		args: []string{"Hello.java"}, want: "from java"},
	{profile: "vim", program: "vim", files: map[string]string{"a.txt": "one\n"}, args: []string{"-es", "-c", "normal Atwo", "-c", "wq", "a.txt"}, check: func(t *testing.T, u *user, _ string) {
		if got := string(u.read("a.txt")); got != "onetwo\n" {
			t.Errorf("a.txt: %q", got)
		}
	}},
	{profile: "emacs", program: "emacs", args: []string{"--batch", "--eval", `(with-temp-file "a.txt" (insert "from lisp"))`}, made: []string{"a.txt"}},
	{profile: "text-tools", program: "jq", files: map[string]string{"a.json": `{"a": [1, 2]}`}, args: []string{".a | add", "a.json"}, want: "3"},
	{profile: "text-tools", program: "sqlite3", args: []string{"a.db", "create table t(x); insert into t values (7); select x + 1 from t"}, want: "8"},
	{profile: "wine", program: "wine", args: []string{"cmd", "/c", "echo from wine"}, want: "from wine"},
}

var general = []row{
	{profile: "default", program: "sh", general: true, args: []string{"-c", "ls -A ~; echo done"}, want: "done"},
	{profile: "shell", program: "bash", general: true, args: []string{"-c", "echo kept > ~/file; cat ~/file"}, want: "kept"},
	{profile: "build", program: "make", needs: []string{"gcc"}, general: true, files: map[string]string{"hello.c": hello, "Makefile": "hello: hello.c\n\tgcc -o $@ $^ -lm\n"}, made: []string{"hello"}},
	{profile: "document", program: "pdfinfo", general: true, prepare: paper, args: []string{"paper.pdf"}, want: "Pages:"},
	{profile: "offline", program: "sh", general: true, args: []string{"-c", "echo kept > ~/Documents/note && cat ~/Documents/note"}, want: "kept"},
	{profile: "readonly", program: "find", general: true, args: []string{"..", "-name", ".keep"}, want: "project/.keep"},
	{profile: "untrusted", program: "sh", general: true, files: map[string]string{"a.txt": "to be read\n"}, args: []string{"-c", "cat a.txt; echo x > ~/x && echo x > /tmp/x"}, want: "to be read"},
	{profile: "game", program: "sh", general: true, args: []string{"-c", "echo 100 > ~/score; cat ~/score"}, want: "100"},
}
