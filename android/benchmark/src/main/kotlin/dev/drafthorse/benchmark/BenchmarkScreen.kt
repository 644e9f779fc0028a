package dev.drafthorse.benchmark

import android.app.Activity
import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.view.Gravity
import android.view.WindowManager
import android.widget.TextView

/**
 * In front while the phone is measured: an app that is seen gets the processor cores that users get, and its screen
 * keeps the phone awake. It shows what is under way.
 */
public class BenchmarkScreen : Activity() {
    private lateinit var text: TextView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.O_MR1) {
            setShowWhenLocked(true)
            setTurnScreenOn(true)
        }
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        text = TextView(this).apply { gravity = Gravity.CENTER }
        setContentView(text)
    }

    internal fun show(line: String) = runOnUiThread { text.text = line }

    internal companion object {
        fun intent(context: Context): Intent =
            Intent(context, BenchmarkScreen::class.java).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK)
    }
}
