#!/bin/sh
# Makes the sample clips in samples/clips (they are committed; run this only to change them).
# Needs ffmpeg with libx264 and libx265. Each picture carries its frame number as a bar code along
# the top: samples/README.md has the layout.
set -eu
cd "$(dirname "$0")/clips"

WIDTH=320 HEIGHT=180 STRIP=24 BLOCKS=24 SECONDS_LONG=10

# The picture at $1 frames a second: a moving test pattern under the bar code of the frame's number N.
picture() {
    printf '%s' "testsrc2=size=${WIDTH}x${HEIGHT}:rate=$1:duration=${SECONDS_LONG}[scene];
        color=black:size=${WIDTH}x${STRIP}:rate=$1:duration=${SECONDS_LONG},format=gray,
        geq=lum='if(mod(floor(N/pow(2,$((BLOCKS - 1))-floor(X*${BLOCKS}/W))),2),235,16)'[bars];
        [scene][bars]overlay=0:0,format=yuv420p"
}

# A tone that rises and falls, so that a cut or a gap can be heard.
TONE="aevalsrc=0.2*sin(2*PI*(300*t+10*sin(2*PI*t/5))):duration=${SECONDS_LONG}"

# A key frame each second, none elsewhere; reproducible files without the encoder's date.
KEYS="-g 1000 -force_key_frames expr:gte(t,n_forced) -threads 1"
PLAIN="-map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact"
X264="-c:v libx264 -preset slow -crf 30 -sc_threshold 0 $KEYS"
# Without edit lists every packet is shown, the encoder's first too, so that none is left out by a reader
# that honours them.
WHOLE="-movflags +faststart -use_editlist 0"
QUIET="-hide_banner -loglevel warning -y"

ffmpeg $QUIET -filter_complex "$(picture 25)[v]" -f lavfi -i "$TONE:sample_rate=44100" -map "[v]" -map 0:a \
    $X264 -bf 0 -profile:v main -c:a aac -b:a 48k $PLAIN $WHOLE h264-aac.mp4

ffmpeg $QUIET -filter_complex "$(picture 25)[v]" -map "[v]" \
    $X264 -bf 3 -b-pyramid normal -profile:v high $PLAIN -movflags +faststart h264-bframes.mp4

ffmpeg $QUIET -filter_complex "$(picture 20)[v]" -f lavfi -i "$TONE:sample_rate=48000" -map "[v]" -map 0:a \
    -c:v libx265 -preset medium -crf 32 -tag:v hvc1 -forced-idr 1 $KEYS \
    -x265-params "log-level=error:open-gop=0:scenecut=0:info=0:bframes=0:pools=1:frame-threads=1" \
    -c:a aac -b:a 48k $PLAIN $WHOLE h265-aac.mp4

ffmpeg $QUIET -filter_complex "$(picture 20)[v]" -map "[v]" \
    -c:v libx265 -preset medium -crf 34 -tag:v hvc1 -forced-idr 1 $KEYS \
    -x265-params "log-level=error:open-gop=0:scenecut=0:info=0:bframes=3:b-adapt=0:pools=1:frame-threads=1" \
    $PLAIN -movflags +faststart h265-bframes.mp4

ffmpeg $QUIET -filter_complex "$(picture 15)[v]" -f lavfi -i "$TONE:sample_rate=8000" -map "[v]" -map 0:a \
    $X264 -bf 0 -profile:v baseline -c:a pcm_alaw $PLAIN h264-g711.mkv

# Frame times 67 ms apart give or take 24 ms: a camera in poor light. The numbers stay consecutive.
ffmpeg $QUIET -filter_complex "$(picture 15),settb=1/1000,setpts=N*67+25*sin(N)[v]" -map "[v]" \
    -fps_mode vfr -enc_time_base 1:1000 $X264 -bf 0 -profile:v main $PLAIN h264-vfr.mkv

ffmpeg $QUIET -i h264-aac.mp4 -map 0 -c copy $PLAIN h264-aac.ts

# The first clip's camera after someone changed its settings: the same sound, a picture twice as wide and high.
ffmpeg $QUIET -i h264-aac.mp4 -filter_complex "[0:v]scale=$((2 * WIDTH)):$((2 * HEIGHT)):flags=neighbor,trim=end_frame=250[v]" \
    -map "[v]" -map 0:a -frames:v 250 $X264 -bf 0 -profile:v main -c:a copy $PLAIN $WHOLE h264-aac-large.mp4

# The first clip's camera with a frozen sensor: its encoder goes on, and codes one picture again and again, without looking
# ahead, as those of cameras do.
ffmpeg $QUIET -i h264-aac.mp4 -filter_complex "[0:v]loop=loop=-1:size=1:start=0,setpts=N/25/TB,trim=end_frame=250[v]" \
    -map "[v]" -map 0:a $X264 -x264-params rc-lookahead=0:mbtree=0 -bf 0 -profile:v main -c:a copy $PLAIN $WHOLE h264-aac-frozen.mp4
