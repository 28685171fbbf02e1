// The manager: the forwarder's main thread. It does for the packet threads what those must not do: talk to control, open and
// close sockets, read the kernel's counters. After start-up it allocates nothing either.
using Tmds.Linux;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Forwarder;

/// <summary>Serves control's requests one by one until it is told to exit.</summary>
internal sealed unsafe class Manager(ControlSocket socket, ForwarderMemory memory, ForwarderOptions options) : IDisposable
{
    private const ulong TickNs = 1_000_000_000, NsPerMs = 1_000_000;
    private const int TicksPerAudit = 10;

    private readonly int[] _fds = new int[ForwarderChannel.FdsMax];
    private int _fdCount;
    private int _control = -1;
    private int _xskMap = -1;
    private DataPath? _path;
    private SharedMemory? _table;
    private int _ticks;

    public int Run()
    {
        pollfd* polled = stackalloc pollfd[2];
        ulong tickNs = Clock.NowNs() + TickNs;
        while (true)
        {
            // By the clock, not whenever it is quiet: a control that never stops asking must not end the audits.
            ulong nowNs = Clock.NowNs();
            if (nowNs >= tickNs)
            {
                Tick();
                tickNs = nowNs + TickNs;
            }

            polled[0] = new pollfd { fd = socket.Fd, events = POLLIN };
            polled[1] = new pollfd { fd = _control, events = POLLIN };
            if (poll(polled, 2, (int)((tickNs - nowNs + NsPerMs - 1) / NsPerMs)) <= 0)
                continue;
            if (polled[1].revents != 0 && !Serve())
                return 0;
            if (polled[0].revents != 0)
                Accept();
        }
    }

    public void Dispose()
    {
        _path?.Dispose();
        _table?.Dispose();
    }

    /// <summary>A new control takes the place of the old one, which is dead or about to be told so.</summary>
    private void Accept()
    {
        int fd = socket.Accept();
        if (fd < 0)
            return;
        if (_control >= 0)
            close(_control);
        _control = fd;
    }

    /// <summary>Answers one request. False: exit. Descriptors that no verb has taken are closed.</summary>
    private bool Serve()
    {
        if (!ForwarderChannel.Receive(_control, out ForwarderMessage request, _fds, out _fdCount))
        {
            close(_control);
            _control = -1;
            return true;
        }

        ForwarderMessage reply = new()
        {
            Verb = request.Verb,
            Protocol = ForwarderMessage.CurrentProtocol,
            LayoutVersion = Layout.Version,
            Port = request.Port,
        };
        try
        {
            if (request.Verb == ForwarderVerb.Hello)
            {
                Hello(ref reply);
                return true;
            }

            Carry(request, ref reply);
        }
        catch (SystemCallException e)
        {
            reply.Error = e.Code;
        }
        finally
        {
            CloseReceived();
        }

        ForwarderChannel.Send(_control, reply);
        return request.Verb != ForwarderVerb.Shutdown;
    }

    /// <summary>Carries one request out.</summary>
    private void Carry(in ForwarderMessage request, ref ForwarderMessage reply)
    {
        switch (request.Verb)
        {
            case ForwarderVerb.Shutdown:
                break;
            case ForwarderVerb.SetMaps:
                reply.Error = SetMaps();
                break;
            case ForwarderVerb.SetTable when _path is not null && _fdCount == 1:
                SetTable((long)request.Bytes);
                break;
            case ForwarderVerb.AddPort when _path is not null:
                reply.Error = _path.Add(request, _xskMap, out reply.Step, out reply.PortFlags);
                break;
            case ForwarderVerb.SetBond when _path is not null:
                reply.Error = _path.SetBond(request, _fdCount == 1 ? MapSlbTables() : null, out reply.Step);
                break;
            case ForwarderVerb.RemovePort when _path is not null:
                reply.Error = _path.Remove(request.Port, _xskMap);
                break;
            case ForwarderVerb.Barrier when _path is not null:
                _path.Barrier();
                break;
            case ForwarderVerb.Audit when _path is not null:
                reply.Error = _path.Audit() ? 0 : Errno.EINVAL;
                break;
            default:
                reply.Error = Errno.EOPNOTSUPP;
                break;
        }
    }

    private void Hello(ref ForwarderMessage reply)
    {
        reply.Pid = Environment.ProcessId;
        reply.Bytes = memory.Counters.Bytes;
        reply.Count = _path?.PortCount ?? 0;
        reply.NetnsInode = NetworkNamespace.Inode;
        reply.MapId = _xskMap >= 0 ? MapId(_xskMap) : 0;
        ForwarderChannel.Send(_control, reply, [memory.Counters.Fd, memory.Lifeline.Fd]);
        for (uint id = 1; _path is not null && id < Layout.PortsMax; id++)
        {
            if (_path.TryDescribe(id, out ForwarderMessage port))
                ForwarderChannel.Send(_control, port);
        }
    }

    private SharedMemory MapSlbTables() => SharedMemory.OpenReadWrite(Take(0), SlbLayout.BondsMax * (long)sizeof(SlbBond), "xfp_slb_bonds");

    private int SetMaps()
    {
        // Control sends them once to each forwarder; a second time they are the same maps (it has compared their id).
        if (_path is not null || _fdCount != 3)
            return _path is not null ? 0 : Errno.EINVAL;
        SharedMemory? ports = null, heartbeats = null;
        try
        {
            ports = SharedMemory.OpenReadOnly(Take(1), Layout.PortsMax * (long)sizeof(PortEntry), "xfp_ports");
            heartbeats = SharedMemory.OpenReadWrite(Take(2), sizeof(Heartbeats), "xfp_heartbeats");
            _path = new DataPath(memory, (PortEntry*)ports.Address, (Heartbeats*)heartbeats.Address, options);
        }
        catch (SystemCallException)
        {
            ports?.Dispose();
            heartbeats?.Dispose();
            throw;
        }

        _xskMap = Take(0);
        return 0;
    }

    private void SetTable(long bytes)
    {
        SharedMemory table = SharedMemory.OpenReadOnly(Take(0), bytes, "macs");
        _path!.SetTable(table.Address);
        _table?.Dispose();
        _table = table;
    }

    /// <summary>A received descriptor becomes the caller's.</summary>
    private int Take(int index)
    {
        int fd = _fds[index];
        _fds[index] = -1;
        return fd;
    }

    private void CloseReceived()
    {
        for (int i = 0; i < _fdCount; i++)
        {
            if (_fds[i] >= 0)
                close(_fds[i]);
        }

        _fdCount = 0;
    }

    private void Tick()
    {
        memory.Loop(0)[(int)LoopCounter.Gen0Collections] = (ulong)GC.CollectionCount(0);
        if (_path is null)
            return;
        _path.ReadStatistics();
        if (++_ticks % TicksPerAudit == 0)
            _path.Audit();
    }

    private static uint MapId(int map)
    {
        bpf_map_info info = default;
        uint length = (uint)sizeof(bpf_map_info);
        return LibBpf.bpf_obj_get_info_by_fd(map, &info, &length) == 0 ? info.id : 0;
    }
}
