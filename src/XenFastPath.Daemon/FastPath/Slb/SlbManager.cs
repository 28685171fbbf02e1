// balance-slb bonds: the table of who sends by which member, kept even, and the hooks that hold on to it.
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath.Slb;

/// <summary>
/// Owns the programs of native/slb.bpf.c and their maps, which are loaded when the first bond comes. Everything on the controller's
/// thread. What is pinned goes on working without it; see slb.bpf.c for what then becomes of the choice of members.
/// </summary>
internal sealed unsafe class SlbManager : ISlb, IDisposable
{
    private static readonly TimeSpan s_intervalMin = TimeSpan.FromSeconds(1);

    private readonly string _bpffs;
    private readonly PinFolder _pins;
    private readonly Rtnl _rtnl;
    private readonly bool _mayUseTcx;
    private readonly Dictionary<int, SlbSettings> _settings = [];
    private readonly SlbTable?[] _tables = new SlbTable?[SlbLayout.BondsMax];
    private readonly Announcer _announcer;
    private Loaded? _loaded;

    /// <summary>Takes over what an earlier daemon left pinned.</summary>
    /// <exception cref="FastPathException">The kernel refuses the programs.</exception>
    public SlbManager(string bpffs, PinFolder pins, Rtnl rtnl, bool mayUseTcx = true)
    {
        (_bpffs, _pins, _rtnl, _mayUseTcx) = (bpffs, pins, rtnl, mayUseTcx);
        _announcer = new Announcer((bond, address) => _tables[bond]?.Buckets.Members[SlbAddress.Bucket(address)] ?? 0);
        if (File.Exists(Path.Combine(pins.Path, "xfp_slb_bonds")))
            TakeOver(Load());
    }

    /// <summary>Programs, maps and hooks, together or not at all.</summary>
    private sealed record Loaded(BpfProgram Program, SlbMaps Maps, Hooks Hooks, Hook Out, Hook In);

    public IReadOnlyDictionary<int, SlbSettings> Bonds => _settings;

    /// <summary>The maps, for tests and for whoever transmits for a bond; null while there is no bond.</summary>
    public SlbMaps? Maps => _loaded?.Maps;

    public BpfProgram? Program => _loaded?.Program;

    /// <summary>The bond's element in the maps; -1: it is none of these.</summary>
    public int IndexOf(int ifindex) => Array.FindIndex(_tables, t => t?.Ifindex == ifindex);

    public void Configure(int ifindex, string device, SlbSettings settings)
    {
        try
        {
            Loaded loaded = _loaded ?? Load();
            int index = IndexOf(ifindex);
            if (index < 0)
                index = Enrol(loaded, ifindex, device);
            SetTable(loaded.Maps, index, settings);
            loaded.Maps.SetDevice(ifindex, index);
            SetMembers(loaded, index, ifindex, settings);
            loaded.Hooks.Attach(loaded.Out, ifindex, device);
            _settings[ifindex] = settings;
        }
        catch (Exception e) when (e is FastPathException or SystemCallException or NetlinkException)
        {
            _settings[ifindex] = settings with { IsWhole = false };
            throw new Model.RefusalException(device, "balance-slb: " + e.Message);
        }
    }

    public void Remove(int ifindex, string device)
    {
        _settings.Remove(ifindex);
        int index = IndexOf(ifindex);
        if (index < 0 || _loaded is not { } loaded)
            return;
        loaded.Hooks.Detach(loaded.Out, ifindex);
        foreach ((int entered, int _) in loaded.Maps.Devices().Where(d => d.Bond == index))
        {
            loaded.Hooks.Detach(loaded.In, entered);
            loaded.Maps.DeleteDevice(entered);
        }

        loaded.Maps.Bonds[index] = default;
        loaded.Maps.DeleteSources((key, _) => SlbAddress.BondOf(key) == index);
        _tables[index] = null;
        _announcer.Forget(index);
    }

    public void Forget(int portIfindex)
    {
        if (_settings.Count > 0)
            _loaded?.Maps.DeleteSources((_, source) => source.Origin == (uint)portIfindex);
    }

    public SlbReport? ReportOf(int ifindex)
    {
        int index = IndexOf(ifindex);
        return index < 0 || _loaded is not { } loaded ? null : _tables[index]!.Report(loaded.Maps, _settings[ifindex], _announcer.SentOf(index));
    }

    /// <summary>Ten times a second: confirms the tables, rebalances those whose time has come, sends what waits to be announced.</summary>
    public void Tick()
    {
        if (_loaded is not { } loaded)
            return;
        ulong now = Clock.NowNs();
        foreach (SlbTable? table in _tables)
        {
            // One of an earlier daemon is confirmed once it is known what the bond is now.
            if (table is null || !_settings.TryGetValue(table.Ifindex, out SlbSettings? settings) || !settings.IsWhole)
                continue;
            Volatile.Write(ref loaded.Maps.Bonds[table.Index].ConfirmedNs, now);
            if (table.IsDue(now))
                table.Rebalance(loaded.Maps, settings.Usable.Members, now);
        }

        _announcer.Send();
    }

    public void Dispose()
    {
        _announcer.Dispose();
        _loaded?.Maps.Dispose();
        _loaded?.Program.Dispose();
    }

    private Loaded Load()
    {
        BpfProgram program = BpfProgram.Load(_bpffs, _pins, "slb");
        Hook egress = new("slbout", program.Program("xfp_slb_out"), LibBpf.BPF_TCX_EGRESS, Bypass.OwnFilterPrefix + "slb_out");
        Hook ingress = new("slbin", program.Program("xfp_slb_in"), LibBpf.BPF_TCX_INGRESS, Bypass.OwnFilterPrefix + "slb_in");
        Hooks hooks = new(_pins, _rtnl, [egress, ingress], _mayUseTcx);
        hooks.TakeOver();
        return _loaded = new Loaded(program, new SlbMaps(program), hooks, egress, ingress);
    }

    /// <summary>The bonds that are pinned, as far as the maps tell. Not whole, so that a plan comes for each.</summary>
    private void TakeOver(Loaded loaded)
    {
        List<(int Ifindex, int Bond)> devices = loaded.Maps.Devices();
        for (int index = 0; index < SlbLayout.BondsMax; index++)
        {
            SlbBond* bond = loaded.Maps.Bonds + index;
            if (bond->Ifindex == 0)
                continue;
            int ifindex = (int)bond->Ifindex;
            SlbTable table = new(index, ifindex);
            table.TakeOver(loaded.Maps);
            _tables[index] = table;
            _settings[ifindex] = new SlbSettings
            {
                Members = new MemberList(devices.Where(d => d.Bond == index && d.Ifindex != ifindex).Select(d => d.Ifindex)),
                Usable = new MemberList(table.Buckets.Members.ToArray().Where(m => m != 0).Distinct()),
                Active = (int)bond->Active,
                RebalanceInterval = TimeSpan.Zero,
                Ageing = TimeSpan.FromTicks((long)bond->AgeingNs / TimeSpan.NanosecondsPerTick),
                IsWhole = false,
            };
        }
    }

    private int Enrol(Loaded loaded, int ifindex, string device)
    {
        int index = Array.IndexOf(_tables, null);
        if (index < 0)
            throw new FastPathException($"no more than {SlbLayout.BondsMax} balance-slb bonds; destroy one before {device} is made one");
        loaded.Maps.Bonds[index] = default;
        loaded.Maps.ClearRows(index);
        loaded.Maps.Bonds[index].Ifindex = (uint)ifindex;
        _tables[index] = new SlbTable(index, ifindex);
        return index;
    }

    /// <summary>The table first: frames must not wait for a hook. Each bucket moves with one store.</summary>
    private void SetTable(SlbMaps maps, int index, SlbSettings settings)
    {
        SlbTable table = _tables[index]!;
        SlbBond* bond = maps.Bonds + index;
        ulong now = Clock.NowNs(), confirmed = bond->ConfirmedNs;
        bool isLapsed = confirmed != 0 && now - confirmed > SlbLayout.StaleNs;
        HashSet<int> moved = [.. table.Assign(maps, settings.Usable.Members)];
        bond->AgeingNs = (ulong)settings.Ageing.TotalNanoseconds;
        Volatile.Write(ref bond->Active, (uint)settings.Active);
        Volatile.Write(ref bond->ConfirmedNs, now);
        table.SetInterval(settings.RebalanceInterval <= TimeSpan.Zero ? TimeSpan.Zero
            : settings.RebalanceInterval < s_intervalMin ? s_intervalMin : settings.RebalanceInterval, now);
        // Of a new bond nothing is known that could have moved. While nobody confirmed the table, the kernel had moved everything.
        if (confirmed == 0 || (moved.Count == 0 && !isLapsed))
            return;
        maps.EachSource((key, source) =>
        {
            ulong address = SlbAddress.Of(key);
            // Signed: one that is seen just now may be younger than now.
            bool isHere = SlbAddress.BondOf(key) == index && (long)(now - source.SeenNs) <= (long)bond->AgeingNs;
            if (isHere && (isLapsed || moved.Contains(SlbAddress.Bucket(address))))
                _announcer.Add(index, address);
        });
        _announcer.Send();
    }

    private void SetMembers(Loaded loaded, int index, int ifindex, SlbSettings settings)
    {
        int[] members = settings.Members.Members.ToArray();
        foreach ((int gone, int _) in loaded.Maps.Devices().Where(d => d.Bond == index && d.Ifindex != ifindex && !members.Contains(d.Ifindex)))
        {
            loaded.Hooks.Detach(loaded.In, gone);
            loaded.Maps.DeleteDevice(gone);
        }

        foreach (int member in members)
        {
            loaded.Maps.SetDevice(member, index);
            loaded.Hooks.Attach(loaded.In, member, _rtnl.GetLink(member)?.Name ?? $"ifindex {member}");
        }
    }
}
