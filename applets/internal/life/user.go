package life

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// A User is whose a child's process is to be.
type User struct {
	Name, Home string              // as the system's list of users has them; empty for a number that is not in there
	Credential *syscall.Credential // nil where it is our own
}

// LookUpUser finds USER or USER:GROUP, each a name or a number. Without GROUP the groups are those
// that the user is a member of; with it, it is the only one. An error says what is unknown, or that
// only root may start programs as another user.
func LookUpUser(s string) (*User, error) {
	name, group, grouped := strings.Cut(s, ":")
	if name == "" || grouped && group == "" {
		return nil, fmt.Errorf("%q is not USER or USER:GROUP", s)
	}
	found, err := user.Lookup(name)
	if n, bad := strconv.ParseUint(name, 10, 32); err != nil && bad == nil {
		if found, err = user.LookupId(name); err != nil {
			if !grouped {
				return nil, fmt.Errorf("%s: no such user; a number that nobody has needs a group, as in %s:%s", name, name, name)
			}
			found, err = &user.User{Uid: strconv.FormatUint(n, 10)}, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: no such user", name)
	}
	u := &User{Name: found.Username, Home: found.HomeDir, Credential: &syscall.Credential{}}
	if u.Credential.Uid, err = number(found.Uid); err != nil {
		return nil, err
	}
	if grouped {
		g, err := user.LookupGroup(group)
		if err == nil {
			group = g.Gid
		}
		if u.Credential.Gid, err = number(group); err != nil {
			return nil, fmt.Errorf("%s: no such group", group)
		}
	} else {
		if u.Credential.Gid, err = number(found.Gid); err != nil {
			return nil, err
		}
		ids, err := found.GroupIds()
		if err != nil {
			return nil, fmt.Errorf("the groups of %s: %w", name, err)
		}
		for _, id := range ids {
			if n, err := number(id); err == nil {
				u.Credential.Groups = append(u.Credential.Groups, n)
			}
		}
	}
	if os.Getuid() != 0 {
		if int(u.Credential.Uid) != os.Getuid() || grouped && int(u.Credential.Gid) != os.Getgid() {
			return nil, errors.New("only root may start programs as another user")
		}
		u.Credential = nil // there is nothing to change, and nobody who may
	}
	return u, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// Environment returns env, or ours if it is nil, with HOME, USER and LOGNAME as the user has them.
func (u *User) Environment(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	if u.Name == "" {
		return env
	}
	out := make([]string, 0, len(env)+3)
	for _, v := range env {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "HOME", "USER", "LOGNAME":
		default:
			out = append(out, v)
		}
	}
	return append(out, "HOME="+u.Home, "USER="+u.Name, "LOGNAME="+u.Name)
}

// LookUpUID finds the number of a user, given by name or number.
func LookUpUID(s string) (uint32, error) {
	if n, err := number(s); err == nil {
		return n, nil
	}
	found, err := user.Lookup(s)
	if err != nil {
		return 0, fmt.Errorf("%s: no such user", s)
	}
	return number(found.Uid)
}

// LookUpGroup finds the number of a group, given by name or number.
func LookUpGroup(s string) (int, error) {
	n, err := number(s)
	if err != nil {
		g, bad := user.LookupGroup(s)
		if bad != nil {
			return 0, fmt.Errorf("%s: no such group", s)
		}
		n, err = number(g.Gid)
	}
	return int(n), err
}
