package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/athd/athd/config/starter"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/provider"
)

// write writes the files that are not there yet, athd.yaml as the last: without
// it nothing has begun. It returns what it wrote.
func (b *beginning) write(f *starter.Files) (written []string, err error) {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return nil, err
	}
	if err := privateDir(filepath.Join(b.dir, starter.PrivateDir)); err != nil {
		return nil, err
	}
	for _, file := range []struct {
		name string
		text []byte
		mode fs.FileMode
		keep bool // one that is there is as good
	}{
		{starter.AdminTokenFile, []byte(starter.NewToken().Reveal() + "\n"), 0o600, true},
		{"providers.json", f.Providers, 0o644, false},
		{"athd.yaml", f.Athd, 0o644, false},
	} {
		if file.text == nil {
			continue
		}
		path := filepath.Join(b.dir, file.name)
		err := writeFile(path, file.text, file.mode)
		if file.keep && errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		written = append(written, path)
	}
	return written, nil
}

// privateDir makes a directory that only its owner can look into, and that git
// leaves alone.
func privateDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is there, and is not a directory", path)
	case !ownedBy(info, os.Geteuid()):
		return fmt.Errorf("%s belongs to somebody else, who would read and replace the secrets in it\nnext: remove it, or begin in a folder of your own", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %#o): it holds secrets\nnext: chmod 700 %s", path, info.Mode().Perm(), path)
	}
	err = writeFile(filepath.Join(path, ".gitignore"), []byte("*\n"), 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// writeFile writes a file that does not exist yet.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path) // ours, and half of it
	}
	return err
}

// tell says what there is now, and what comes next.
func (b *beginning) tell(w io.Writer, f *starter.Files, written, left []string) {
	for _, path := range written {
		note := ""
		if strings.HasSuffix(path, starter.AdminTokenFile) {
			note = "  who can read it is an operator"
		}
		fmt.Fprintf(w, "wrote %s%s\n", path, note)
	}
	var server string
	if p, known := provider.PresetNamed(b.Preset); known {
		server = p.Title
	}
	if b.Server != nil {
		server = cli.Printable(b.Server.Issuer, 300)
	}
	fmt.Fprintf(w, "\nAt %s register for athd's client the redirect URI\n  %s\n", server, f.Callback)
	if len(left) > 0 {
		fmt.Fprintf(w, "\nLeft out, since their names open no request: %s (--scope takes them)\n", cli.Printable(strings.Join(left, " "), 500))
	}
	if len(f.Warnings) > 0 {
		fmt.Fprintln(w, "\nNot for production, as athd validate tells it:")
		for _, text := range f.Warnings {
			fmt.Fprintf(w, "  %s\n", cli.Printable(text, 500))
		}
	}
	fmt.Fprintln(w, "\nNext:")
	if b.dir != "." {
		fmt.Fprintf(w, "  cd %s\n", cli.ShellWord(b.dir, 4096))
	}
	if f.OwnTLS {
		fmt.Fprintf(w, "  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout %s -out %s\n", starter.KeyFile, starter.CertFile)
	}
	for _, name := range f.Variables {
		fmt.Fprintf(w, "  export %s=…   # as it was given to you there\n", name)
	}
	fmt.Fprintln(w, "  athd up")
}
