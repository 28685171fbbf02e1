// Random desired states, the same for the same seed: everything that a document can say.
using System.Collections.Immutable;
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

internal static class RandomState
{
    public static HostState Of(Random random)
    {
        int next = 1;
        HostState state = HostState.Empty;
        int networks = random.Next(7), pifs = random.Next(8);
        for (int i = 0; i < networks; i++)
            state = state.Add(Make.Network(next++, $"net {i} \"ä\"", $"xapi{i}", random.Next(68, 9001), random.Next(2) == 0 ? Datapath.Auto : Datapath.Afxdp));
        for (int i = 0; i < pifs; i++)
        {
            // What a card is does not change from one state to another.
            Pif pif = Make.Pif(next++, $"eth{i}", $"52:54:00:00:00:{i:x2}", i % 2 == 0 ? $"0000:{i:x2}:00.0" : null);
            state = state.Add(i % 3 == 2 ? pif with { BusPath = null, Binding = new DeviceBinding(Make.BootId, Make.Netns, 100 + i) } : pif);
        }

        Network[] free = [.. state.Networks];
        random.Shuffle(free);
        Stack<Network> uplinkless = new(free);
        if (pifs >= 3 && uplinkless.TryPop(out Network? bonded))
            state = Bond(state, random, bonded, ref next);
        foreach (Pif pif in state.Pifs.Where(p => p.Bond is null && state.BondOfMember(p) is null))
        {
            if (random.Next(2) == 0 && uplinkless.TryPop(out Network? network))
                state = state.Connect(pif, network, false, false);
            if (random.Next(3) == 0 && state.PifOf(pif.Uuid) is { Network: not null } connected)
                state = state.Change(connected with { IsPlugged = false });
        }

        Pif[] trunks = [.. state.Pifs.Where(p => state.BondOfMember(p) is null)];
        for (int tag = random.Next(1, 4000); trunks.Length > 0 && uplinkless.TryPop(out Network? network); tag++)
        {
            Pif trunk = trunks[random.Next(trunks.Length)];
            state = state.Add(new Vlan(Make.Uuid(next++), trunk.Uuid, tag, network.Uuid, $"{trunk.Device}.{tag}"));
        }

        for (int i = 0; networks > 0 && i < random.Next(12); i++)
        {
            string? mac = random.Next(2) == 0 ? null : $"00:16:3e:00:00:{i:x2}";
            Network network = state.Networks[random.Next(networks)];
            IEnumerable<int> tags = state.PifOf(network) is { } uplink ? state.VlansOf(uplink).Select(v => v.Tag).Where(_ => random.Next(2) == 0) : [];
            string device = $"vif{i}.0";
            state = state.Add(Make.Vif(next++, device, network, 200 + i, mac) with { Trunks = Rules.Trunks(device, [.. tags]) });
        }

        return state;
    }

    private static HostState Bond(HostState state, Random random, Network network, ref int next)
    {
        ImmutableArray<Guid> members = [.. state.Pifs.Take(random.Next(2, 4)).Select(p => p.Uuid)];
        BondingMode mode = (BondingMode)random.Next(3);
        BondProperties properties = new()
        {
            MiimonMs = 50,
            UpDelayMs = random.Next(100) * 50,
            RebalanceIntervalMs = mode == BondingMode.BalanceSlb ? random.Next(10_000) : 1_800_000,
            LacpFast = mode == BondingMode.Lacp && random.Next(2) == 0,
            LacpAggregationKey = mode == BondingMode.Lacp ? random.Next(1023) : null,
        };
        Bond bond = new(Make.Uuid(next++), "bond0", members, mode, random.Next(2) == 0 ? null : "02:00:00:00:00:01", properties);
        return state.Add(bond, Make.Uuid(next++), network);
    }
}
