using System.Text;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>
/// The same bodies run on the plain bridge and on a fast path. What each receiver got must agree: per flow (sender, receiver,
/// EtherType) the same frames in the same order, after checksums are normalised and padding is taken off.
/// </summary>
public sealed class ComparisonTests
{
    /// <summary>An emulated machine takes half a minute for each: it runs the one in which a kernel could differ from another most.</summary>
    public static IEnumerable<TheoryDataRow<string, string>> Bodies =>
        from datapath in (string[])["afxdp", "redirect"]
        from body in new[]
        {
            "known unicast", "unknown flood", "broadcast", "multicast", "reserved", "station move",
            "age out", "flush", "source multicast", "ip and udp", "sctp", "vlan",
        }
        let row = new TheoryDataRow<string, string>(body, datapath)
        select body is "vlan" && datapath is "afxdp" ? row.WithTrait("rung", "minimum") : row;

    [Theory]
    [MemberData(nameof(Bodies))]
    public void Bridge_and_fast_path_agree(string body, string datapath)
    {
        string bridge = Run(body, "bridge", out _), fast = Run(body, datapath, out long stalls);
        // A forwarder that stood still throws away what waited: right, but nothing to compare. An emulated machine makes it do so.
        for (int again = 0; again < 5 && stalls > 0 && datapath is "afxdp" && Lab.Lab.Scale > 1 && fast != bridge; again++)
            fast = Run(body, datapath, out stalls);
        Assert.NotEqual("", bridge);
        Assert.Equal(bridge, fast);
    }

    private static string Run(string body, string datapath, out long stalls)
    {
        using Lab.Lab lab = new(guests: 3);
        Guest world = lab.AddWorld();
        lab.CreateNetwork("xenbr0", datapath, pif: "eth0");
        lab.PlugAll("xenbr0", datapath);
        Guest[] stations = [.. lab.Guests, world];
        Introduce(stations, lab);
        Recorder recorder = new(lab, stations);
        Perform(body, recorder, stations, lab);
        string text = recorder.Text();
        if (datapath is not "bridge" && body is "known unicast" or "station move" or "ip and udp")
            Assert.True(lab.VifOf(stations[0]).Counters!.FastRxFrames > 0, "nothing took the fast path: the comparison is void");
        stalls = lab.Stats().Loop.GetValueOrDefault("stalls");
        return text;
    }

    /// <summary>Everybody is known before the body begins, unless it is about not being known.</summary>
    private static void Introduce(Guest[] stations, Lab.Lab lab)
    {
        foreach (Guest station in stations)
            station.Socket.Send(Frame("ff:ff:ff:ff:ff:ff", station.Mac, 0));
        foreach (Guest station in stations)
            Assert.Equal(3, station.Socket.Collect(IsProbe, 3).Count);
        lab.Sync();
    }

    /// <summary>Sends the frames of a body. Stations 0 to 2 are guests, station 3 is the world.</summary>
    private static void Perform(string body, Recorder recorder, Guest[] stations, Lab.Lab lab)
    {
        switch (body)
        {
            case "known unicast":
                Converse(recorder, stations);
                break;
            case "unknown flood":
                for (int i = 1; i <= 20; i++)
                    recorder.Send(0, Frame("02:00:00:00:09:09", stations[0].Mac, i));
                break;
            case "broadcast":
                for (int i = 1; i <= 20; i++)
                    recorder.Send(i % 4, Frame("ff:ff:ff:ff:ff:ff", stations[i % 4].Mac, i));
                break;
            case "multicast":
                for (int i = 1; i <= 20; i++)
                    recorder.Send(0, Frame("01:00:5e:01:02:03", stations[0].Mac, i));
                break;
            case "reserved":
                for (int last = 0; last < 16; last++)
                    recorder.Send(0, Frame($"01:80:c2:00:00:{last:x2}", stations[0].Mac, last));
                break;
            case "source multicast":
                recorder.Send(0, Frame(stations[1].Mac, "03:00:00:00:00:01", 1));
                recorder.Send(0, Frame(stations[1].Mac, "00:00:00:00:00:00", 2));
                recorder.Send(0, Frame(stations[1].Mac, stations[0].Mac, 3));
                break;
            case "station move":
                Move(recorder, stations, lab);
                break;
            case "age out":
                AgeOut(recorder, stations, lab);
                break;
            case "flush":
                lab.Dom0.Run("bridge", "fdb", "flush", "dev", "xenbr0");
                recorder.Settle();
                recorder.Send(0, Frame(stations[1].Mac, stations[0].Mac, 1));
                break;
            case "ip and udp":
                foreach (byte[] packet in IpPackets(stations[1].Mac, stations[0].Mac))
                    recorder.Send(0, packet);
                break;
            case "sctp":
                foreach (byte[] packet in SctpPackets(stations[1].Mac, stations[0].Mac))
                    recorder.Send(0, packet);
                break;
            case "vlan":
                SendTagged(recorder, stations);
                break;
        }
    }

    /// <summary>Two guests with each other, the third with the world.</summary>
    private static void Converse(Recorder recorder, Guest[] stations)
    {
        for (int i = 1; i <= 200; i++)
        {
            recorder.Send(0, Frame(stations[1].Mac, stations[0].Mac, i));
            recorder.Send(1, Frame(stations[0].Mac, stations[1].Mac, i));
            recorder.Send(2, Frame(stations[3].Mac, stations[2].Mac, i));
            recorder.Send(3, Frame(stations[2].Mac, stations[3].Mac, i));
        }
    }

    /// <summary>A station goes from port to port; after each move the others' frames must find it at the new place.</summary>
    private static void Move(Recorder recorder, Guest[] stations, Lab.Lab lab)
    {
        const string nomad = "02:00:00:00:0a:0a";
        for (int i = 1; i <= 30; i++)
        {
            int place = i % 3;
            recorder.Send(place, Frame(stations[(place + 1) % 3].Mac, nomad, i));
            recorder.Settle();
            recorder.Send((place + 1) % 3, Frame(nomad, stations[(place + 1) % 3].Mac, i));
            recorder.Send((place + 2) % 3, Frame(nomad, stations[(place + 2) % 3].Mac, i));
            recorder.Settle();
        }
    }

    /// <summary>A frame to a station that is known, and one when it has been forgotten.</summary>
    private static void AgeOut(Recorder recorder, Guest[] stations, Lab.Lab lab)
    {
        lab.Dom0.Run("ip", "link", "set", "xenbr0", "type", "bridge", "ageing_time", "100");
        recorder.Send(0, Frame(stations[1].Mac, stations[0].Mac, 1));
        Tool.Eventually(
            () => !lab.Dom0.Run("bridge", "fdb", "show", "br", "xenbr0").Contains(stations[1].Mac, StringComparison.Ordinal),
            "the entry ages out", 30);
        recorder.Settle();
        recorder.Send(0, Frame(stations[1].Mac, stations[0].Mac, 2));
    }

    /// <summary>From the world a tagged frame goes through the bridge as it is; from a vif none gets out.</summary>
    private static void SendTagged(Recorder recorder, Guest[] stations)
    {
        Guest guest = stations[0], world = stations[3];
        recorder.Send(3, Tagged(guest.Mac, world.Mac, 5));
        recorder.Send(3, Frame(guest.Mac, world.Mac, 6));
        recorder.Send(0, Tagged(world.Mac, guest.Mac, 7));
        recorder.Send(0, Tagged("ff:ff:ff:ff:ff:ff", guest.Mac, 8));
        recorder.Send(0, Frame(world.Mac, guest.Mac, 9));
    }

    /// <summary>A whole CRC32c, as a sender without offload makes it, and one that is wrong: neither is touched.</summary>
    private static IEnumerable<byte[]> SctpPackets(string to, string from)
    {
        yield return Ipv4(to, from, 132, Convert.FromHexString("138913890000000012345678030000100000000100000fff00000000"));
        yield return Ipv4(to, from, 132, Convert.FromHexString("1389138900000000deadbeef030000100000000100000fff00000000"));
    }

    private static IEnumerable<byte[]> IpPackets(string to, string from)
    {
        for (int i = 0; i < 50; i++)
        {
            yield return Ipv4(to, from, 17, Udp(i, checksum: 0x1234));
            yield return Ipv4(to, from, 17, Udp(i, checksum: 0));
            yield return Ipv4(to, from, 1, [8, 0, 0, 0, 0, (byte)i, 0, 0]);
            yield return Ipv4(to, from, 6, [.. new byte[12], 0x50, 0x10, 0, 0, 0x12, 0x34, 0, 0, (byte)i]);
            yield return Ipv4(to, from, 47, [0, 0, 8, 0, (byte)i]);
        }
    }

    private static byte[] Udp(int i, ushort checksum) => [0, 1, 0, 2, 0, 12, (byte)(checksum >> 8), (byte)checksum, 1, 2, 3, (byte)i];

    internal static byte[] Ipv4(string to, string from, byte protocol, byte[] payload)
    {
        byte[] header = [0x45, 0, 0, (byte)(20 + payload.Length), 0, 1, 0, 0, 64, protocol, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
        return [.. Mac(to), .. Mac(from), 8, 0, .. header, .. payload];
    }

    /// <summary>A probe: an ICMP packet between addresses that no guest has, with a number in it.</summary>
    internal static byte[] Frame(string to, string from, int number)
    {
        byte[] packet = Ipv4(to, from, 1, [8, 0, 0, 0, .. BitConverter.GetBytes(number), .. new byte[56]]);
        (packet[26 + 1], packet[30 + 1]) = (66, 66);
        return packet;
    }

    internal static int Number(byte[] probe) => BitConverter.ToInt32(probe, 38);

    internal static byte[] Tagged(string to, string from, int number, ushort tag = 42, ushort tpid = 0x8100)
    {
        byte[] plain = Frame(to, from, number);
        return [.. plain[..12], (byte)(tpid >> 8), (byte)tpid, (byte)(tag >> 8), (byte)tag, .. plain[12..]];
    }

    internal static byte[] Mac(string text) => Convert.FromHexString(text.Replace(":", "", StringComparison.Ordinal));

    internal static bool IsProbe(byte[] frame) => frame.Length >= 42 && frame[12] == 8 && frame[13] == 0 && frame[26] == 10 && frame[27] == 66;

    /// <summary>Sends, and writes down what every station receives.</summary>
    private sealed class Recorder(Lab.Lab lab, Guest[] stations)
    {
        private readonly SortedDictionary<string, StringBuilder> _flows = [];

        public void Send(int station, byte[] frame) => stations[station].Socket.Send(frame);

        /// <summary>Waits until nothing is under way: receivers are quiet, the mirror has followed the kernel.</summary>
        public void Settle()
        {
            for (int i = 0; i < stations.Length; i++)
            {
                foreach (byte[] frame in stations[i].Socket.Collect(_ => true, int.MaxValue, quietMs: 60))
                    Note(i, frame);
            }

            lab.Sync();
        }

        public string Text()
        {
            for (int i = 0; i < stations.Length; i++)
            {
                foreach (byte[] frame in stations[i].Socket.Collect(_ => true, int.MaxValue, quietMs: 400))
                    Note(i, frame);
            }

            return string.Join('\n', _flows.Select(f => $"{f.Key}: {f.Value}"));
        }

        private void Note(int receiver, byte[] frame)
        {
            bool isOurs = IsProbe(frame) || (frame[12] == 8 && frame[13] == 0 && frame[26] == 10 && frame[27] == 77)
                || (frame[12] == 0x81 && frame[13] == 0);
            if (!isOurs)
                return;
            // What makes a flow: stations, EtherType, and the protocol inside. Different protocols may take different paths.
            string protocol = frame[12] == 8 ? $" protocol {frame[23]}" : "";
            string key = $"{Convert.ToHexString(frame[6..12])} -> station {receiver} {Convert.ToHexString(frame[12..14])}{protocol}";
            if (!_flows.TryGetValue(key, out StringBuilder? flow))
                _flows[key] = flow = new StringBuilder();
            flow.Append(Normalise(frame)).Append(' ');
        }

        /// <summary>IP packets end where their header says: the rest is padding.</summary>
        private static string Normalise(byte[] frame)
        {
            if (frame[12] != 8 || frame[13] != 0)
                return Convert.ToHexString(frame[..6]) + Convert.ToHexString(frame[12..]);
            int end = 14 + (frame[16] << 8 | frame[17]);
            return Convert.ToHexString(frame[..6]) + Convert.ToHexString(frame[12..Math.Min(end, frame.Length)]);
        }
    }
}
