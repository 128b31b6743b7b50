package agentcli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	maxStateBytes = 1 << 20
	lockPatience  = 5 * time.Second
)

// A stateFile is where the state is. Whoever changes it holds a lock beside
// it, reads it again and puts a whole new file in its place: two athctl at once
// lose nothing, and neither does one that is killed.
type stateFile struct{ path string }

// read returns the state.
func (f *stateFile) read() (*savedState, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s\nnext: athctl try keygen --agent-id URL makes one; --state names another", f.path)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", f.path)
	}
	if readableByOthers(info.Mode()) {
		return nil, fmt.Errorf("%s can be read by others (mode %04o), and it holds the agent's key\nnext: chmod 600 %s; if others were at this machine meanwhile, make a new key", f.path, info.Mode().Perm(), f.path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxStateBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxStateBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", f.path, maxStateBytes)
	}
	state, err := decodeState(text)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be used: %w\nnext: it was left as it is; name another with --state", f.path, err)
	}
	return state, nil
}

// create writes a first state. It replaces one only with force.
func (f *stateFile) create(s *savedState, force bool) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	switch _, err := os.Lstat(f.path); {
	case err == nil && !force:
		return fmt.Errorf("%s is there already, with a key in it\nnext: --state names another file; --force gives the old key up for good", f.path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return f.write(s)
}

// update changes the state as it is by now.
func (f *stateFile) update(change func(*savedState) error) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := f.read()
	if err != nil {
		return err
	}
	if err := change(s); err != nil {
		return err
	}
	return f.write(s)
}

func (f *stateFile) write(s *savedState) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(f.path, append(text, '\n'))
}

// writeWhole puts a file of mode 0600 in the place of what was there.
func writeWhole(path string, text []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// lock takes FILE.lock, and waits a little while somebody else has it.
func (f *stateFile) lock() (unlock func(), err error) {
	name := f.path + ".lock"
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			file.Close()
			return func() { os.Remove(name) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("another athctl has %s\nnext: remove that file if none is running", name)
		}
	}
}
