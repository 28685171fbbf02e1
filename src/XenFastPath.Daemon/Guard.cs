// The guard: waits beside the daemon until a change must be confirmed, and undoes it if no daemon is left that would.
using System.ComponentModel;
using System.Diagnostics;
using System.Text;
using Tmds.Linux;
using XenFastPath.Interop;
using XenFastPath.Model;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon;

/// <summary>
/// <c>xenfastpathd --guard</c>. Its file is rollback.json: it ends when the file goes, which is how a confirmation or a rollback
/// ends it. A daemon that lives rolls back by itself; the guard acts when the deadline has passed and the run-dir's lock is free.
/// It shares the file's lock, so that a second guard for the same file sees it and ends.
/// </summary>
internal static unsafe class Guard
{
    private const string Ready = "ready";

    /// <summary>The guard's program is this one; it has only files to open.</summary>
    private const int ReadyMsMax = 15_000;

    /// <summary>After the deadline: a daemon is at work, or a rollback failed.</summary>
    private const int AgainMs = 200, FailedMs = 5000;

    /// <summary>Starts a guard and returns when it watches.</summary>
    /// <exception cref="IOException">It does not.</exception>
    public static void Start(Options options)
    {
        ProcessStartInfo start = new(Environment.ProcessPath!, options.GuardArguments) { RedirectStandardOutput = true, RedirectStandardInput = true };
        try
        {
            using Process process = Process.Start(start)!;
            Task<string?> line = process.StandardOutput.ReadLineAsync();
            if (line.Wait(ReadyMsMax) && line.Result == Ready)
                return;
            process.Kill();
            throw new IOException($"the guard (pid {process.Id}) does not start; its reason is in the log");
        }
        catch (Win32Exception e)
        {
            throw new IOException($"the guard {start.FileName} does not start: {e.Message}");
        }
    }

    /// <summary>Watches until the file goes; returns the exit status.</summary>
    /// <param name="options">Where the file is.</param>
    /// <param name="rollBack">Undoes the change; returns false if a daemon serves the run-dir.</param>
    /// <exception cref="SystemCallException">The file cannot be watched.</exception>
    public static int Run(Options options, Func<bool> rollBack)
    {
        setsid();       // neither the daemon's terminal nor its process group is to end this one
        RollbackFile file = new(options.StateDir, _ => { });
        int fd = Open(file.Path), names = Inotify.WatchNames(file.Path);
        if (!FileLock.TryExclusive(fd))
        {
            Console.WriteLine(Ready);       // there is a guard already
            return 0;
        }

        FileLock.TryShared(fd);     // the daemon reads the file
        Rollback pending = file.Load() ?? throw new IOException($"{file.Path} is gone");
        int timer = BootClock.TimerAt(pending.DeadlineNs);
        Console.WriteLine(Ready);
        int waitMs = -1;
        while (!IsGone(fd))
        {
            Wait(waitMs < 0 ? timer : -1, names, waitMs);
            if (IsGone(fd) || !pending.IsDue(BootClock.BootId, BootClock.NowNs()))
                continue;
            waitMs = Try(rollBack) ? AgainMs : FailedMs;
        }

        return 0;
    }

    /// <summary>Tries to undo the change; returns false if that failed and is to be left alone for a while.</summary>
    private static bool Try(Func<bool> rollBack)
    {
        try
        {
            rollBack();
            return true;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // Whatever it is: nobody else is left to try.
            Log.Error($"guard: {e.Message}");
            return false;
        }
    }

    private static void Wait(int timer, int names, int timeoutMs)
    {
        pollfd* polled = stackalloc pollfd[2];
        polled[0] = new pollfd { fd = timer, events = POLLIN };
        polled[1] = new pollfd { fd = names, events = POLLIN };
        poll(polled, 2, timeoutMs);
        Inotify.Drain(names);
    }

    private static int Open(string path)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            int fd = open(name, O_RDONLY | O_CLOEXEC);
            return fd >= 0 ? fd : throw new SystemCallException("open " + path, Errno.Last);
        }
    }

    /// <summary>
    /// Has the file lost its name, by removal or by another in its place? By its count of names: that is 0 when the kernel tells of it,
    /// while /proc/self/fd may show the name for a moment more (fsnotify_link_count() before d_delete() in vfs_unlink()).
    /// </summary>
    internal static bool IsGone(int fd)
    {
        stat found;
        return fstat(fd, &found) != 0 || found.st_nlink == 0;
    }
}
