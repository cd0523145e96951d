package life

import (
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// become sets the limits and has the program at path take our place. It returns what failed, "exec" or
// the name of a limit, and why.
//
// A limit on the address space that is lower than what this process has leaves no memory to be had, and
// a Go program that gets none ends with a stack trace. So all that execve(2) takes is made before, and
// from the first limit on nothing is allocated, here or by a collection of garbage.
func become(path string, argv, env []string, limits []Limit) (failed string, errno syscall.Errno) {
	debug.SetGCPercent(-1)
	// The runtime has raised our soft limit on descriptors; an exec by way of package syscall gives the
	// program what it was. This one fails, there is no such file, and has done that before.
	syscall.Exec("", nil, nil)

	p, err := syscall.BytePtrFromString(path)
	if err != nil {
		return "exec", syscall.EINVAL
	}
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return "exec", syscall.EINVAL
	}
	vars, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return "exec", syscall.EINVAL
	}
	numbers, values := make([]int, len(limits)), make([]unix.Rlimit, len(limits))
	for i, l := range limits {
		numbers[i], values[i] = l.resource()
	}

	// To be preempted here would wake others of the runtime's threads, and may be to start one. The
	// signal for that does nothing by default, which is what the program is to find anyhow.
	var none [4]uint64 // struct kernel_sigaction: SIG_DFL
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGURG), uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
	for i := range limits {
		_, _, errno = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(numbers[i]), uintptr(unsafe.Pointer(&values[i])), 0, 0, 0)
		if errno != 0 {
			return limits[i].Name, errno
		}
	}
	_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&vars[0])))
	return "exec", errno
}
