package life

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// stop is a Stop that no signal reaches.
func stop() *Stop {
	s := &Stop{hurry: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func asked(s *Stop) (end, hurry bool) {
	select {
	case <-s.Hurry():
		hurry = true
	default:
	}
	return s.Context().Err() != nil, hurry
}

func TestStopAsk(t *testing.T) {
	for _, test := range []struct {
		name       string
		ask        []bool // with now
		end, hurry bool
	}{
		{"nobody asked", nil, false, false},
		{"asked", []bool{false}, true, false},
		{"asked for the same twice: that is not a second request", []bool{false, false, false}, true, false},
		{"asked for the end now", []bool{true}, true, true},
		{"asked, and then in a hurry", []bool{false, true}, true, true},
		{"in a hurry many times", []bool{true, true, false, true}, true, true},
	} {
		s := stop()
		for _, now := range test.ask {
			s.Ask(now)
		}
		if end, hurry := asked(s); end != test.end || hurry != test.hurry {
			t.Errorf("%s: end %v, hurry %v; want %v, %v", test.name, end, hurry, test.end, test.hurry)
		}
	}
}

// A signal after a request that came another way is the second request.
func TestStopSignalAfterAsk(t *testing.T) {
	s := stop()
	s.Ask(false)
	s.ask(false)
	if end, hurry := asked(s); !end || !hurry {
		t.Errorf("end %v, hurry %v after two requests", end, hurry)
	}
}

// The end of the context that CatchSignals was given is no request to hurry.
func TestStopParent(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := CatchSignals(ctx, false)
	defer signal.Stop(s.signal)
	cancel()
	select {
	case <-s.Context().Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the context did not end with its parent")
	}
	if _, hurry := asked(s); hurry {
		t.Error("it hurries")
	}
}

// servants are what else this program can be.
var servants = map[string]func(){}

// TestMain lets a test start this program as a process that can be ended.
func TestMain(m *testing.M) {
	Stage() // the last step before a program is this program run again
	if how := os.Getenv("LIFE_TEST"); how != "" {
		if serve := servants[how]; serve != nil {
			serve()
			os.Exit(0)
		}
		if how == "ignored" {
			signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
			os.Setenv("LIFE_TEST", "catch")
			syscall.Exec("/proc/self/exe", os.Args, os.Environ()) // ignored signals stay so
		}
		s := CatchSignals(context.Background(), os.Getenv("LIFE_BACKGROUND") != "")
		os.Stdout.WriteString("ready\n")
		<-s.Context().Done()
		os.Stdout.WriteString("first\n")
		<-s.Hurry()
		os.Stdout.WriteString("second\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestSignals(t *testing.T) {
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip(err)
	}
	for _, test := range []struct {
		how, background string
		signal          syscall.Signal
		caught          bool
	}{
		{"catch", "", syscall.SIGINT, true},
		{"catch", "", syscall.SIGTERM, true},
		{"catch", "", syscall.SIGHUP, true},
		{"ignored", "", syscall.SIGINT, true},  // a shell's &
		{"ignored", "", syscall.SIGHUP, false}, // nohup
		{"ignored", "yes", syscall.SIGHUP, true},
	} {
		t.Run(test.how+" "+test.signal.String()+" "+test.background, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "LIFE_TEST="+test.how, "LIFE_BACKGROUND="+test.background)
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			says := func(want string) {
				t.Helper()
				b := make([]byte, 20)
				n, err := out.Read(b)
				if string(b[:n]) != want+"\n" {
					t.Fatalf("%q, %v; want %q", b[:n], err, want)
				}
			}
			says("ready")
			if !test.caught {
				cmd.Process.Signal(test.signal)
				cmd.Process.Signal(syscall.SIGTERM) // the first that counts
				says("first")
				return
			}
			for _, line := range []string{"first", "second"} {
				cmd.Process.Signal(test.signal)
				says(line)
			}
			cmd.Process.Signal(test.signal)
			cmd.Wait()
			ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if want := 128 + int(test.signal); ws.ExitStatus() != want && !(ws.Signaled() && ws.Signal() == test.signal) {
				t.Errorf("the third signal: %v", cmd.ProcessState)
			}
		})
	}
}
