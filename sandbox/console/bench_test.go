package console

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkOutput is "cat big" on a terminal that only counts, with and without the relay.
func BenchmarkOutput(b *testing.B) {
	for _, direct := range []bool{true, false} {
		name := "relayed"
		if direct {
			name = "direct"
		}
		b.Run(name, func(b *testing.B) {
			p := newPair(b, all)
			from := p.tty
			if !direct {
				p.attach(b)
				from = p.program
			} else {
				set := raw(settingsOf(b, p.tty))
				_ = unix.IoctlSetTermios(int(p.tty.Fd()), unix.TCSETS, &set)
			}
			set := raw(settingsOf(b, p.program))
			_ = unix.IoctlSetTermios(int(p.program.Fd()), unix.TCSETS, &set)
			const piece = 64 << 10
			text := bytes.Repeat([]byte("0123456789abcde\n"), piece/16)
			b.SetBytes(piece)
			b.ResetTimer()
			go func() {
				for range b.N {
					_, _ = from.Write(text)
				}
			}()
			buffer := make([]byte, 64<<10)
			for left := b.N * piece; left > 0; {
				n, err := p.user.Read(buffer)
				if err != nil {
					b.Fatal(err)
				}
				left -= n
			}
		})
	}
}

// BenchmarkKey is a key press and its echo.
func BenchmarkKey(b *testing.B) {
	p := newPair(b, all)
	p.attach(b)
	// Echo alone, as from a shell: in canonical mode a line of 4 KiB is full.
	set := settingsOf(b, p.program)
	set.Lflag &^= unix.ICANON
	_ = unix.IoctlSetTermios(int(p.program.Fd()), unix.TCSETS, &set)
	go func() { _, _ = io.Copy(io.Discard, p.program) }()
	key := []byte("k")
	b.ResetTimer()
	for range b.N {
		if _, err := p.user.Write(key); err != nil {
			b.Fatal(err)
		}
		if _, err := p.user.Read(key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWatcher(b *testing.B) {
	_, slave := pty(b)
	for range b.N {
		w, err := startWatcher(int(slave.Fd()))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		w.stop()
		b.StartTimer()
	}
}
