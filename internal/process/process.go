// Package process runs other programs beside this one: Envoy beside athd, and
// the parts of the demo. [Start] does not leave them behind: on Linux they end
// even when this program is killed.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// StopTimeout is how long a child may take to end after SIGTERM.
const StopTimeout = 5 * time.Second

// Config says what to run.
type Config struct {
	Name    string // for people
	Program string
	Args    []string
	Log     string // the file that its output goes to; what was there before is lost
	// Without names variables of this program's environment that the child does
	// not get: secrets that are not for it.
	Without []string

	// OwnGroup gives the child a process group of its own: then Ctrl-C is for
	// this program alone, which stops its children in order.
	OwnGroup bool
	// Exits hears of the end of the child, whatever ends it; nil: nobody.
	Exits chan<- *Process
}

// A Process is a child that runs until it is stopped.
type Process struct {
	Name string
	Log  string // the file's path

	err  error // why it ended; to be read once done is closed
	done chan struct{}
	cmd  *exec.Cmd
}

// Start runs a program.
func Start(c Config) (*Process, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()                         // the child has its own
	cmd := exec.Command(c.Program, c.Args...) //nolint:noctx // Stop ends it, and says how
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(c.Without, name)
	})
	cmd.SysProcAttr = attributes(c.OwnGroup)
	p := &Process{Name: c.Name, Log: c.Log, done: make(chan struct{}), cmd: cmd}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that started it ends (see
		// attributes). So that thread lives as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
		if c.Exits != nil {
			c.Exits <- p
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return p, nil
}

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended, such as exit status 0. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// ID is the process id.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Stop asks the process to end, and makes it end.
func (p *Process) Stop() error {
	// An error means that it has ended already.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(StopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", p.Name, StopTimeout)
	}
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Command is a program that is killed when ctx ends. What it started itself, as a
// script does, is not waited for then, though it holds the output open.
func Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	return cmd
}

// Output runs a program to its end and returns what it prints.
func Output(ctx context.Context, program string, args ...string) ([]byte, error) {
	out, err := Command(ctx, program, args...).Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s %s did not end in time: %w", program, strings.Join(args, " "), ctx.Err())
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, err
	}
	return out, nil
}
